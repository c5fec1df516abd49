"""``python -m tuning`` in one process: results, resuming, refusals."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import yaml
from tensorboard import default, program

from dem.errors import InputError
from dem.settings import load_settings
from tests.processes import ROOT, error_line, run, start
from tests.trainer.synthetic import write_features
from tests.tuning.searches import (
    COLLAPSING,
    FAILURES,
    FIXED,
    MARGINS,
    UNFITTING,
    command,
    run_here,
    said_until,
    settings,
    trials_of,
)
from trainer.config import ResolvedConfig, TrainConfig
from trainer.runtime.job_dir import claim_job_dir
from trainer.train.__main__ import main as train_main
from tuning.config import TuneConfig
from tuning.run import tune
from tuning.workers.role import Role

SEARCH = settings(MARGINS, "trials=2", "space.mining={choices: [semi_hard, all]}", epochs=3)


class Searched(NamedTuple):
    """A search of two trials that was killed in the second one and resumed."""

    job: Path
    resumed: subprocess.CompletedProcess[str]
    first_trial_ns: int  # when it ended


@pytest.fixture(scope="module")
def searched(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Searched:
    job = tmp_path_factory.mktemp("tune") / "job"
    killed = start(*command(features_dir, job, SEARCH))
    said_until(killed, "trial 0 completed")
    first_trial_ns = ended_ns(job)
    said_until(killed, "epoch 2/3")
    trial = children_of(killed)
    assert len(trial) == 1
    killed.kill()
    killed.communicate()
    psutil.wait_procs(trial, timeout=5)
    assert not trial[0].is_running()
    return Searched(job, resume(features_dir, job), first_trial_ns)


def resume(features_dir: Path, job: Path) -> subprocess.CompletedProcess[str]:
    """Run the search here, with all that it and the process of its trial write."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        saved = os.dup(2)
        os.dup2(stderr.fileno(), 2)
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
                code = run_here(features_dir, job, SEARCH)
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        said = []
        for stream in (stdout, stderr):
            stream.seek(0)
            said.append(stream.read())
    return subprocess.CompletedProcess([], code, *said)


def ended_ns(job: Path) -> int:
    return (job / "trials" / "0" / "metrics.json").stat().st_mtime_ns


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def test_a_killed_search_resumes_and_repeats_no_trial(searched: Searched) -> None:
    """The killed trial continues from its checkpoint."""
    stderr = searched.resumed.stderr
    assert searched.resumed.returncode == 0, stderr
    assert "resuming after 1 trials" in stderr
    assert "trial 0:" not in stderr
    assert any(f"resuming from step {step} of 27" in stderr for step in (9, 18, 27))
    assert ended_ns(searched.job) == searched.first_trial_ns


def test_a_search_leaves_what_the_design_promises(searched: Searched) -> None:
    job = searched.job
    assert {path.name for path in job.iterdir()} == {
        "best_config.yaml",
        "config.yaml",
        "metrics.json",
        "search.json",
        "trials",
        "trials.csv",
        "trials.png",
    }
    assert (job / "trials.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    for trial in "01":
        metrics = json.loads((job / "trials" / trial / "metrics.json").read_text())
        assert metrics["recall_at_1"] == trials_of(job).loc[trial, "recall_at_1"]
        assert (job / "trials" / trial / "export" / "encoder.keras").exists()


def test_the_table_has_a_row_per_trial(searched: Searched) -> None:
    trials = trials_of(searched.job)
    assert list(trials.index) == ["0", "1"]
    assert list(trials.columns) == [
        *("status", "recall_at_1", "mining", "margin", "epochs_run", "seconds", "worker", "reason")
    ]
    assert set(trials["status"]) == {"completed"}
    assert trials["margin"].between(0.1, 1.0).all()
    assert set(trials["epochs_run"]) == {3}
    assert set(trials["mining"]) <= {"semi_hard", "all"}


def test_the_summary_ranks_trials_and_names_the_files(searched: Searched) -> None:
    stdout = searched.resumed.stdout
    lines = stdout.splitlines()
    assert lines[0].split()[:3] == ["trial", "status", "recall_at_1"]
    assert lines[1].split()[0] == trials_of(searched.job)["recall_at_1"].idxmax()
    assert f"{searched.job}/best_config.yaml, for python -m trainer.train --config" in stdout


def test_the_best_settings_are_those_of_the_best_trial(
    searched: Searched, features_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`trainer.train` accepts them, too, and recognises the trial as a run with these settings."""
    best = searched.job / "best_config.yaml"
    trial = searched.job / "trials" / trials_of(searched.job)["recall_at_1"].idxmax()
    assert yaml.safe_load(best.read_text()) == yaml.safe_load((trial / "config.yaml").read_text())
    arguments = ["--data", features_dir, "--job-dir", trial, "--config", best]
    assert train_main([str(argument) for argument in arguments]) == 0
    assert f"{trial} is finished already" in capsys.readouterr().err


def post(url: str, route: str, message: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"{url}data/plugin/hparams/{route}",
        json.dumps(message).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def test_tensorboard_shows_the_space_and_a_session_per_trial(searched: Searched) -> None:
    """Over HTTP: the data of its parallel-coordinates view."""
    trials = trials_of(searched.job)
    server = program.TensorBoard(default.get_plugins())
    directory = str(searched.job / "trials")
    server.configure(logdir=directory, port=0, load_fast="false", reload_interval=0)
    url = server.launch()
    query = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"metric": {"group": "", "tag": "recall_at_1"}}],
        "startIndex": 0,
        "sliceSize": 10,
    }
    for _ in range(120):
        groups = post(url, "session_groups", query).get("sessionGroups", [])
        if len(groups) == len(trials):
            break
        time.sleep(0.25)
    margins = sorted(group["hparams"]["margin"] for group in groups)
    assert margins == sorted(trials["margin"])
    recalls = sorted(group["metricValues"][0]["value"] for group in groups)
    assert recalls == pytest.approx(sorted(trials["recall_at_1"]))
    searched_keys = post(url, "experiment", {"experimentName": ""})["hparamInfos"]
    assert [one["name"] for one in searched_keys] == ["margin", "mining"]
    assert searched_keys[0]["domainInterval"] == {"minValue": 0.1, "maxValue": 1.0}


def test_a_finished_search_has_nothing_to_do(
    searched: Searched, features_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = searched.job
    before = {path: path.stat().st_mtime_ns for path in job.rglob("*")}
    assert run_here(features_dir, job, SEARCH) == 0
    again = capsys.readouterr()
    assert f"{job} is finished already, nothing to do" in again.err
    assert again.out == searched.resumed.stdout
    assert {path: path.stat().st_mtime_ns for path in job.rglob("*")} == before


def test_another_space_over_an_old_directory_is_refused_with_the_difference(
    searched: Searched, features_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SEARCH, "space.margin={low: 0.2, high: 1.0}"]
    assert run_here(features_dir, searched.job, words) == 2
    line = capsys.readouterr().err
    assert f"error: {searched.job} was made with other settings: space.margin" in line
    stored, requested = line.index('"low": 0.1'), line.index('"low": 0.2')
    assert stored < requested


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["space.margn=0.3"], "space: unknown key 'margn'; choose from: augment"),
        (["space.encoder={choices: [dense, gur]}"], "space.encoder=gur: unknown encoder 'gur'"),
        (["space.margin={low: 0.1, high: 9.0}"], r"space.margin=9.0: margin: .* not 9.0"),
        (["space.batch_size={low: 16, high: 999}"], "space.batch_size=999: batch_size=999, but"),
        (["space.validation_partitions=[]"], "recall_at_1 is measured on validation partitions"),
        (["objective=loss"], "objective: .*recall_at_1.* not 'loss'"),
        (["algorithm=hyperband", "space.epochs=null"], "epochs: "),
        (["space.margin=0.3"], "space: no key is searched"),
    ],
)
def test_what_cannot_work_is_refused_before_any_trial(
    features_dir: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    def begin() -> None:
        config = load_settings(TuneConfig, None, [*settings(MARGINS), *words], str)
        tune(str(features_dir), str(tmp_path / "job"), config, Role(), lambda: False)

    with pytest.raises(InputError, match=message):
        begin()
    assert not (tmp_path / "job").exists()


def test_the_directory_of_a_training_is_refused(
    tmp_path: Path, features_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim_job_dir(str(tmp_path), ResolvedConfig())
    before = (tmp_path / "config.yaml").read_text()
    assert run_here(features_dir, tmp_path, SEARCH) == 2
    line = capsys.readouterr().err.strip()
    assert line == f"error: {tmp_path} holds a training, not a search; choose another --job-dir"
    assert (tmp_path / "config.yaml").read_text() == before


def test_one_validation_song_is_refused_before_any_trial(tmp_path: Path) -> None:
    """Every tile's nearest would be of the same song, whatever the settings."""
    data = write_features(tmp_path / "features", {"train": 24, "validation": 1})
    config = load_settings(TuneConfig, None, settings(MARGINS), str)
    with pytest.raises(InputError, match=r"two contexts, such as songs, and validation of .* one;"):
        tune(str(data), str(tmp_path / "job"), config, Role(), lambda: False)
    assert not (tmp_path / "job").exists()


def test_the_default_space_fits_every_key_of_the_settings() -> None:
    assert set(FIXED) <= set(TrainConfig.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_stopped_it_saves_the_trial_and_goes_on(
    features_dir: Path, tmp_path: Path, how: signal.Signals
) -> None:
    job = tmp_path / "job"
    words = settings(MARGINS, "trials=1", epochs=100)
    process = start(*command(features_dir, job, words))
    said_until(process, "epoch 10/100")
    os.kill(process.pid, how)
    sent = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - sent < 20
    assert process.returncode == 143
    assert stderr.splitlines()[-1].startswith("stopped: the trial's state is saved")
    finished = run(*command(features_dir, job, words))
    assert finished.returncode == 0, finished.stderr
    assert "resuming from step " in finished.stderr


@pytest.mark.slow
def test_a_collapsed_trial_has_failed_and_the_search_goes_on(
    features_dir: Path, tmp_path: Path
) -> None:
    """One learning rate of four trains; three failures in a row do not end the search."""
    job = tmp_path / "job"
    words = settings(*FAILURES, **COLLAPSING)
    finished = run(*command(features_dir, job, words))
    assert finished.returncode == 0, finished.stderr
    trials = trials_of(job).set_index("learning_rate")
    assert dict(trials["status"]) == {0.0001: "completed"} | dict.fromkeys((1, 2, 3), "failed")
    for rate in (1.0, 2.0, 3.0):
        assert trials.loc[rate, "reason"].startswith("the embedding has collapsed: ")
    best = yaml.safe_load((job / "best_config.yaml").read_text())
    assert best["learning_rate"] == 0.0001


@pytest.mark.slow
def test_where_no_trial_completes_the_search_has_failed(features_dir: Path, tmp_path: Path) -> None:
    words = settings(MARGINS.replace("0.1", "3.0").replace("1.0", "4.0"), "trials=1", **COLLAPSING)
    failed = run(*command(features_dir, tmp_path / "job", words))
    assert failed.returncode == 1
    assert "none of 1 trials completed; the last one: the embedding has collapsed" in (
        error_line(failed)
    )
    assert not (tmp_path / "job" / "metrics.json").exists()


@pytest.mark.slow
def test_settings_that_do_not_fit_together_end_the_search_at_once(
    features_dir: Path, tmp_path: Path
) -> None:
    """Each is valid by itself, so only the trial that has both shows the error."""
    words = settings(*UNFITTING)
    refused = run(*command(features_dir, tmp_path / "job", words))
    assert refused.returncode == 2, refused.stderr
    assert ": projection_hidden=16 without a projection" in error_line(refused)
    assert error_line(refused).startswith("error: trial ")


@pytest.mark.slow
def test_an_error_in_the_program_ends_the_search_at_once(
    features_dir: Path, tmp_path: Path
) -> None:
    """In a copy of the program whose export calls a method that does not exist."""
    copy = tmp_path / "program"
    for package in ("beam_features", "dem", "trainer", "tuning"):
        shutil.copytree(ROOT / package, copy / package)
    export = copy / "trainer" / "model" / "export.py"
    text = export.read_text()
    begin = text.index("def export_encoder(")
    body = text.index('"""', text.index('"""', begin) + 3) + 3
    export.write_text(f"{text[:body]}\n    encoder.no_such_method()\n{text[body:]}")
    broken = subprocess.run(
        [
            *(sys.executable, "-m"),
            *map(str, command(features_dir, tmp_path / "job", settings(MARGINS, "trials=9"))),
        ],
        cwd=copy,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert broken.returncode == 1
    errors = [line for line in broken.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: trial 0: AttributeError: 'Functional' object has no attribute 'no_such_method' "
        "(its traceback is above)"
    ]
    assert "Traceback" in broken.stderr
    assert not (tmp_path / "job" / "trials" / "1").exists()


@pytest.mark.slow
def test_a_killed_trial_has_failed(features_dir: Path, tmp_path: Path) -> None:
    """As the kernel does when memory runs out."""
    job = tmp_path / "job"
    process = start(*command(features_dir, job, settings(MARGINS, "trials=2", epochs=60)))
    said_until(process, "epoch 5/60")
    children_of(process)[0].kill()
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 0, stderr
    trials = trials_of(job)
    assert list(trials["status"]) == ["failed", "completed"]
    assert trials.loc["0", "reason"].startswith(
        "killed by SIGKILL, probably because memory ran out"
    )


@pytest.mark.slow
def test_macro_f1_of_a_probe_on_the_validation_partition(
    features_dir: Path, tmp_path: Path
) -> None:
    job = tmp_path / "job"
    words = settings(MARGINS, "trials=2", "objective=macro_f1")
    finished = run(*command(features_dir, job, words))
    assert finished.returncode == 0, finished.stderr
    for trial, row in trials_of(job).iterrows():
        probe = job / "trials" / str(trial) / "classifier" / "trained-logistic" / "metrics.json"
        scores = json.loads(probe.read_text())
        assert row["macro_f1"] == scores["recording"]["macro_f1"]
        assert scores["train_partitions"] == ["train"]
        assert scores["test_partitions"] == ["validation"]


@pytest.mark.slow
def test_hyperband_trials_go_on_from_checkpoints(features_dir: Path, tmp_path: Path) -> None:
    """Three epochs at most, one in two continues: brackets of 1, then 3 (or 2 and 3) epochs."""
    job = tmp_path / "job"
    words = settings(MARGINS, "algorithm=hyperband", "halving_factor=3", epochs=3)
    finished = run(*command(features_dir, job, words))
    assert finished.returncode == 0, finished.stderr
    trials = trials_of(job)
    assert sorted(trials["epochs"].unique()) == [1, 3]
    promoted = trials[(trials["epochs"] == 3) & trials["margin"].duplicated()]
    assert len(promoted) == 1
    said = finished.stderr.partition(f"trial {promoted.index[0]}: ")[2]
    assert "resuming from step 9 of 27" in said.partition("completed")[0]
    steps = json.loads((job / "trials" / promoted.index[0] / "metrics.json").read_text())["steps"]
    assert steps == 27
