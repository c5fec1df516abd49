"""The training command as a user runs it: in processes that are killed, repeated and misused."""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.processes import error_in, run, start
from tests.trainer.jobs import train_command, train_words, weights
from tests.trainer.synthetic import SPEC
from trainer.model.files import load_keras
from trainer.model.load import open_model
from trainer.runtime.lease import hold_lease
from trainer.runtime.tensorboard import read_curves
from trainer.train.__main__ import main

SMALL = ("encoder=dense", "encoder_width=0.05", "encoder_depth=1", "steps_per_epoch=2")
FIGURES = {
    f"figures/{name}"
    for name in (
        "pca_by_context",
        "tsne_by_context",
        "pca_by_label",
        "tsne_by_label",
        "label_distances",
    )
}


def test_a_job_leaves_what_the_design_promises(trained_job: Path) -> None:
    assert {path.name for path in trained_job.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "export",
        "logs",
        "metrics.json",
    }
    metrics = json.loads((trained_job / "metrics.json").read_text())
    assert metrics["steps"] == 45
    assert metrics["epochs"] == 5
    assert 0 <= metrics["recall_at_1"] <= 1
    encoder = load_keras(str(trained_job / "export" / "encoder.keras"))
    assert encoder.output_shape == (None, 8)
    tiles = np.random.default_rng(0).normal(-5, 3, (2, *SPEC.tile_shape)).astype(np.float32)
    embeddings = np.asarray(encoder(tiles))
    assert embeddings.shape == (2, 8)
    served = open_model(str(trained_job)).embed_tiles(tiles)
    np.testing.assert_allclose(served, embeddings, atol=1e-4)


def test_tensorboard_reads_the_scalars(trained_job: Path) -> None:
    events = EventAccumulator(str(trained_job / "logs"), {"tensors": 0}).Reload()
    assert set(events.Tags()["tensors"]) == {
        "loss",
        "active_share",
        "neighbour_distance",
        "opposite_distance",
        "false_opposite_share",
        "gradient_norm",
        "learning_rate",
        "tiles_per_s",
        "input_wait_share",
        "_hparams_/experiment",
        "_hparams_/session_start_info",
        "_hparams_/session_end_info",
        "recall_at_1",
        "embedding_std",
        "effective_rank",
        "projection_std",
        *FIGURES,
    }
    for name in ("recall_at_1", "embedding_std", "effective_rank", "projection_std"):
        assert [event.step for event in events.Tensors(name)] == [9, 18, 27, 36, 45]
    assert events.Tensors("loss")[-1].step == 45
    for name in FIGURES:
        (event,) = events.Tensors(name)
        assert event.step == 45
        width, height, _ = tf.make_ndarray(event.tensor_proto).tolist()
        assert 300 < int(height) <= int(width) < 1500
    for event in events.Tensors("input_wait_share"):
        assert 0 <= tf.make_ndarray(event.tensor_proto) <= 1


def test_metrics_tell_time_and_memory(trained_job: Path) -> None:
    metrics = json.loads((trained_job / "metrics.json").read_text())
    assert metrics["tiles_per_s"] == pytest.approx(2 * 16 * 45 / metrics["seconds"])
    assert 0 < metrics["input_wait_share"] < 1
    assert 300 < metrics["peak_memory_mib"] < 8000  # TensorFlow alone takes 300
    assert metrics["peak_gpu_memory_mib"] is None
    assert metrics["hosts"] == 1


def modified(job: Path) -> dict[Path, int]:
    """When each file was last written."""
    return {path: path.stat().st_mtime_ns for path in job.rglob("*")}


def test_a_finished_job_is_not_done_again(
    features_dir: Path, trained_job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = modified(trained_job)
    assert main(train_words(features_dir, trained_job)) == 0
    assert "is finished already, nothing to do" in capsys.readouterr().err
    assert modified(trained_job) == before


def test_other_settings_are_refused_and_nothing_is_overwritten(
    features_dir: Path, trained_job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = modified(trained_job)
    assert main(train_words(features_dir, trained_job, "margin=0.7")) == 2
    assert "margin: stored 1.0, requested 0.7" in error_in(capsys.readouterr().err)
    assert modified(trained_job) == before


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_and_ends_with_the_same_weights(
    features_dir: Path,
    trained_job: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    how: signal.Signals,
) -> None:
    job = tmp_path / "job"
    process = start(*train_command(features_dir, job))
    deadline = time.monotonic() + 120
    while not (job / "checkpoints/ckpt-1.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    assert not (job / "metrics.json").exists(), "the run was over before it could be stopped"
    if how is not signal.SIGKILL:
        assert process.returncode == 143
        assert "Traceback" not in stderr
        assert "stopped: state saved at step" in stderr
    capsys.readouterr()
    assert main(train_words(features_dir, job)) == 0
    assert "resuming from step" in capsys.readouterr().err
    metrics, undisturbed = (
        json.loads((directory / "metrics.json").read_text()) for directory in (job, trained_job)
    )
    assert metrics["steps"] == undisturbed["steps"]
    assert metrics["loss"] == pytest.approx(undisturbed["loss"], abs=1e-3)
    for one, other in zip(weights(job), weights(trained_job), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_second_training_is_refused_while_the_first_lives(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = tmp_path / "job"
    with hold_lease(str(job), lambda: False):
        assert main(train_words(features_dir, job, *SMALL)) == 1
    message = f"{job} is in use by process {os.getpid()} on "
    assert message in error_in(capsys.readouterr().err)
    assert list(job.iterdir()) == []


@pytest.mark.parametrize("decay", ["none", pytest.param("cosine", marks=pytest.mark.slow)])
def test_more_epochs_extend_a_finished_training(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], decay: str
) -> None:
    """As if it had had so many from the start, unless the learning rate depends on their number.

    With `cosine`, the rates are those of the new total from then on.
    """
    settings = (*SMALL, f"learning_rate_decay={decay}")
    extended, at_once = tmp_path / "extended", tmp_path / "at once"
    assert main(train_words(features_dir, extended, *settings, "epochs=1")) == 0
    stored = extended / "vectors" / "trained" / "train.parquet"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"by the first encoder")
    first = weights(extended)
    for job in (extended, at_once):
        assert main(train_words(features_dir, job, *settings, "epochs=3")) == 0
    assert "resuming from step 2 of 6" in capsys.readouterr().err
    assert not stored.exists()
    metrics, other = (json.loads((job / "metrics.json").read_text()) for job in (extended, at_once))
    assert (metrics["epochs"], metrics["steps"]) == (other["epochs"], other["steps"]) == (3, 6)
    assert "epochs: 3\n" in (extended / "config.yaml").read_text()
    rates, others = (
        read_curves(str(job / "logs"), ["learning_rate"])["learning_rate"]
        for job in (extended, at_once)
    )
    assert rates[0][-1] == others[0][-1] == 6
    assert rates[1][-1] == pytest.approx(others[1][-1], rel=1e-6)
    apart = max(
        np.abs(one - same).max()
        for one, same in zip(weights(extended), weights(at_once), strict=True)
    )
    assert apart < 1e-5 if decay == "none" else apart > 1e-5
    assert max(np.abs(a - b).max() for a, b in zip(first, weights(extended), strict=True)) > 1e-4
    assert main(train_words(features_dir, extended, *settings, "epochs=2")) == 2
    line = error_in(capsys.readouterr().err)
    assert "epochs: stored 3, requested 2; epochs can be raised, not lowered" in line
    assert json.loads((extended / "metrics.json").read_text()) == metrics


@pytest.mark.slow
def test_two_logical_replicas_train_on_the_cpu(features_dir: Path, tmp_path: Path) -> None:
    finished = run(*train_command(features_dir, tmp_path / "job", "replicas=2", "epochs=1"))
    assert finished.returncode == 0, finished.stderr
    metrics = json.loads((tmp_path / "job" / "metrics.json").read_text())
    assert metrics["replicas"] == 2
    assert metrics["devices"] == ["CPU:0", "CPU:1"]
    assert metrics["steps"] == 9


@pytest.mark.parametrize(
    ("data", "setting", "message"),
    [
        ("features", "margn=1", "unknown key 'margn'"),
        (
            "features",
            "encoder=resnet19",
            "unknown encoder 'resnet19'; choose one of: dense, conv1d",
        ),
        ("none", "margin=1", "holds no finished features"),
    ],
)
def test_bad_input_is_one_line_exit_2_and_no_job(
    features_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    data: str,
    setting: str,
    message: str,
) -> None:
    job = tmp_path / "job"
    assert main(train_words(features_dir.parent / data, job, setting)) == 2
    assert message in error_in(capsys.readouterr().err)
    assert not job.exists()
