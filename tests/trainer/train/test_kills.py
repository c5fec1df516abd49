"""Crash-only: killed at any moment and started again, a run ends as if nothing had been."""

import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.cluster import finish
from tests.processes import ROOT, error_line, messages, run, start
from tests.trainer.jobs import train_command, weights

TOLERANCE = 1e-3  # of loss and weights: threads of a CPU add in any order
LIMIT_S = 20.0


def metrics_of(job: Path) -> dict:
    return json.loads((job / "metrics.json").read_text())


def assert_same_end(job: Path, undisturbed: Path) -> None:
    one, other = metrics_of(undisturbed), metrics_of(job)
    assert other["steps"] == one["steps"] == 45
    assert other["loss"] == pytest.approx(one["loss"], abs=TOLERANCE)
    for ours, theirs in zip(weights(job), weights(undisturbed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@pytest.fixture(scope="module")
def undisturbed(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A finished job, and how many seconds it took."""
    job = tmp_path_factory.mktemp("undisturbed") / "job"
    begin = time.monotonic()
    finished = run(*train_command(features_dir, job))
    assert finished.returncode == 0, finished.stderr
    return job, time.monotonic() - begin


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_kills_at_random_moments_change_nothing(
    features_dir: Path, tmp_path: Path, undisturbed: tuple[Path, float], seed: int
) -> None:
    """From start-up to export, by either signal; SIGTERM is answered within 20 s."""
    rng = random.Random(seed)
    other, takes_s = undisturbed
    job = tmp_path / "job"
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
        process = start(*train_command(features_dir, job))
        try:
            process.wait(rng.uniform(0.3, 1.0) * takes_s)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
        sent = time.monotonic()
        ended = finish(process)
        assert time.monotonic() - sent < LIMIT_S
        if how is signal.SIGTERM:
            # A default handler, before ours is there, ends with -15: nothing was begun then.
            assert ended.returncode in {0, 143, -signal.SIGTERM}, ended.stderr
    finished = run(*train_command(features_dir, job))
    assert finished.returncode == 0, finished.stderr
    assert_same_end(job, other)


# Adds in the same order every time.
ONE_THREAD = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_it_goes_on_from_the_last_checkpoint_by_time(
    features_dir: Path, tmp_path: Path
) -> None:
    """Two kills within one epoch of 8000 steps; the weights are those of a run without any."""
    settings = ("encoder=dense", "encoder_width=0.1", "epochs=1", "steps_per_epoch=8000")
    job, undisturbed = tmp_path / "job", tmp_path / "undisturbed"
    command = train_command(features_dir, job, *settings, "checkpoint_every_s=0.3")
    steps = []
    for _ in range(2):
        newest = newest_checkpoint(job)
        process = start(*command, **ONE_THREAD)
        while newest_checkpoint(job) == newest and process.poll() is None:
            time.sleep(0.05)
        time.sleep(0.15)  # steps that are lost
        process.kill()
        assert "epoch 1/1" not in finish(process).stderr
        steps.append(step_of(newest_checkpoint(job)))
    assert 0 < steps[0] < steps[1] < 8000
    last = finish(start(*command, **ONE_THREAD))
    assert last.returncode == 0, last.stderr
    assert f"resuming from step {steps[1]} of 8000" in last.stderr
    whole = finish(start(*train_command(features_dir, undisturbed, *settings), **ONE_THREAD))
    assert whole.returncode == 0, whole.stderr
    assert [path.name for path in (undisturbed / "checkpoints").iterdir()] == ["ckpt-1.npz"]
    one, other = metrics_of(undisturbed), metrics_of(job)
    assert other["steps"] == one["steps"] == 8000
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-6)
    for ours, theirs in zip(weights(job), weights(undisturbed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def newest_checkpoint(job: Path) -> Path | None:
    found = (job / "checkpoints").glob("ckpt-*.npz")
    return max(found, key=lambda path: int(path.stem.partition("-")[2]), default=None)


def step_of(checkpoint: Path | None) -> int:
    assert checkpoint
    with np.load(checkpoint) as arrays:
        return int(arrays["progress/step"])


def stop_after(process: subprocess.Popen[str], line: str) -> tuple[int, str]:
    """Send SIGTERM once a line begins so; return the exit code and what was said after it."""
    assert process.stderr
    for said in process.stderr:
        if messages(said)[0].startswith(line):
            break
    process.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    rest = process.stderr.read()
    code = process.wait(LIMIT_S)
    assert time.monotonic() - sent < LIMIT_S
    return code, rest


@pytest.mark.slow
def test_sigterm_during_the_export_is_answered_and_the_export_made_up_for(
    features_dir: Path, tmp_path: Path, undisturbed: tuple[Path, float]
) -> None:
    job = tmp_path / "job"
    code, said = stop_after(start(*train_command(features_dir, job)), "epoch 5/5")
    assert code == 143, said
    assert "stopped: " in said
    assert not (job / "metrics.json").exists()
    finished = run(*train_command(features_dir, job))
    assert finished.returncode == 0, finished.stderr
    assert_same_end(job, undisturbed[0])


def run_with_small_files(limit: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run where no file can grow beyond `limit` bytes: writing fails, as on a full disk."""

    def restrict() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error for the writer, not a kill
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=restrict,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_once_there_is_space(
    features_dir: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    two_epochs = train_command(features_dir, job, "epochs=2")
    first = start(*two_epochs)
    code, _ = stop_after(first, "epoch 1/2")
    assert code == 143
    before = sorted(path.name for path in (job / "checkpoints").iterdir())
    assert before
    full = run_with_small_files(100_000, *two_epochs)
    assert full.returncode == 1
    assert f"cannot write to {job}/" in error_line(full)
    assert "free space" in error_line(full)
    assert sorted(path.name for path in (job / "checkpoints").iterdir()) == before
    finished = run(*two_epochs)
    assert finished.returncode == 0, finished.stderr
    assert "resuming from step" in finished.stderr
    assert metrics_of(job)["steps"] == 18


@pytest.mark.slow
def test_a_classifier_with_the_encoder_supervised_is_stopped_and_resumes(
    features_dir: Path, trained_job: Path, tmp_path: Path
) -> None:
    job = Path(shutil.copytree(trained_job, tmp_path / "job"))
    options = ("--data", features_dir, "--job-dir", job, "--encoder", "supervised")
    code, said = stop_after(start("trainer.classify", *options), "supervised epoch 2/5")
    assert code == 143, said
    assert not (job / "classifier" / "supervised-logistic").exists()
    finished = run("trainer.classify", *options)
    assert finished.returncode == 0, finished.stderr
    assert "resuming from step" in finished.stderr
    assert metrics_of(job / "classifier" / "supervised-logistic")["encoder"] == "supervised"
