"""The output directory: resumed after a kill, refused with other arguments, overwritten."""

import os
import shutil
from pathlib import Path

import pytest

from tests.beam_features.job.conftest import INFO, REJECTED, one_error_line
from tests.processes import messages

# Complete


def test_rerun_of_a_complete_job_touches_nothing(run_job, songs, complete, capsys):
    before = {path: path.stat().st_mtime_ns for path in complete.iterdir()}
    assert run_job(songs, complete) == 0
    assert f"{complete} is already complete, nothing to do\n" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in complete.iterdir()} == before


def test_rerun_removes_what_a_kill_at_the_very_end_left(run_job, songs, complete, contents):
    before = contents(complete)
    (complete / "incomplete").mkdir()
    (complete / "incomplete" / "train-00000-of-00002.json").write_text("{}")
    assert run_job(songs, complete) == 0
    assert contents(complete) == before
    assert not (complete / "incomplete").exists()


# Killed


ATTEMPT = "0123456789abcdef" * 2
DEAD_RUN = f"incomplete/run-{ATTEMPT}"


def remove_summary(output: Path, shard: str) -> None:
    (output / "incomplete" / f"{shard}.json").unlink()


def killed_between_shard_and_summary(output: Path) -> None:
    remove_summary(output, "train-00000-of-00002")


def killed_within_a_shard(output: Path) -> None:
    remove_summary(output, "train-00001-of-00002")
    scratch = output / DEAD_RUN / ATTEMPT
    scratch.mkdir(parents=True)
    temporary = scratch / f"train-00001-of-00002.tfrecord.{ATTEMPT}.tmp"
    (output / "train-00001-of-00002.tfrecord").rename(temporary)
    os.truncate(temporary, 100)


def killed_within_a_summary(output: Path) -> None:
    remove_summary(output, "train-00001-of-00002")
    (output / DEAD_RUN / ATTEMPT).mkdir(parents=True)
    name = f"train-00001-of-00002.json.{ATTEMPT}.tmp"
    (output / DEAD_RUN / ATTEMPT / name).write_text('{"strips":')


def killed_within_the_plan(output: Path) -> None:
    killed_before_the_first_shard(output)
    (output / DEAD_RUN).mkdir()
    (output / DEAD_RUN / "plan.jsonl").write_text('{"shard":')
    (output / DEAD_RUN / f"plan.jsonl.{ATTEMPT}.tmp").write_text('{"shard":')


def killed_before_the_first_shard(output: Path) -> None:
    for path in [*output.glob("*.tfrecord"), *output.glob("incomplete/*0*.json")]:
        path.unlink()


def killed_before_the_arguments(output: Path) -> None:
    shutil.rmtree(output)
    (output / "incomplete").mkdir(parents=True)
    (output / "incomplete" / f"arguments.json.{ATTEMPT}.tmp").write_text("{")


def killed_while_summing_up(output: Path) -> None:
    (output / REJECTED).unlink()
    (output / f"{REJECTED}.{ATTEMPT}.tmp").write_text("{")
    (output / f"{INFO}.{ATTEMPT}.tmp").write_text("{")


def shard_lost(output: Path) -> None:
    (output / "train-00000-of-00002.tfrecord").unlink()


@pytest.mark.parametrize(
    "kill",
    [
        killed_between_shard_and_summary,
        killed_within_a_shard,
        killed_within_a_summary,
        killed_within_the_plan,
        killed_before_the_first_shard,
        killed_before_the_arguments,
        killed_while_summing_up,
        shard_lost,
    ],
)
def test_rerun_redoes_what_is_missing(kill, run_job, damaged_songs, failed, tolerated, contents):
    kill(failed)
    assert run_job(damaged_songs, failed, "--max-failure-rate", "0.5") == 0
    assert contents(failed) == contents(tolerated)
    assert not (failed / "incomplete").exists()


def test_rerun_leaves_finished_shards_alone(run_job, damaged_songs, failed, capsys):
    remove_summary(failed, "train-00000-of-00002")
    before = {path.name: path.stat().st_mtime_ns for path in failed.glob("*.tfrecord")}
    assert run_job(damaged_songs, failed, "--max-failure-rate", "0.5") == 0
    after = {path.name: path.stat().st_mtime_ns for path in failed.glob("*.tfrecord")}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"train-00000-of-00002.tfrecord"}
    first, *_ = messages(capsys.readouterr().err)
    assert first == "4 shards, 3 of them finished by an earlier run"


# Other arguments


@pytest.fixture(params=["complete", "failed"])
def there(request, songs, damaged_songs) -> tuple[Path, Path]:
    """A directory that holds features, complete or not, and their source."""
    source = songs if request.param == "complete" else damaged_songs
    return source, request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--shards", "3"], "shards: stored 2, requested 3"),
        (
            ["--set", "hop_s=0.02", "n_mels=32"],
            "hop_s: stored 0.01, requested 0.02; n_mels: stored 64, requested 32",
        ),
        (["--set", "fmax_hz=7600"], "fmax_hz: stored None, requested 7600.0"),
        (
            ["--dataset", "sample", "--input", "sample:1"],
            "dataset: stored folder, requested sample",
        ),
    ],
)
def test_other_arguments_are_refused(run_job, there, contents, capsys, options, difference):
    source, output = there
    before = contents(output)
    assert run_job(source, output, *options) == 2
    line = one_error_line(capsys)
    assert line.startswith(f"error: {output} was made with other arguments: ")
    assert difference in line
    assert line.endswith("; choose another --output, or replace it with --overwrite")
    assert contents(output) == before


def test_overwrite_replaces_shards_of_other_arguments(run_job, songs, there, contents, tmp_path):
    _, output = there
    options = ["--shards", "1", "--set", "n_mels=32"]
    assert run_job(songs, output, *options, "--overwrite") == 0
    assert run_job(songs, tmp_path / "fresh", *options) == 0
    assert contents(output) == contents(tmp_path / "fresh")


def test_overwrite_deletes_nothing_but_the_jobs_files(run_job, songs, complete, contents, features):
    foreign = {
        "notes.txt": b"mine",
        "songs.tfrecord": b"not named like a shard",
        "esc50/fold1-00000-of-00001.tfrecord": b"another dataset",
        "rejected-by-hand/why.txt": b"mine",
    }
    for name, data in foreign.items():
        (complete / name).parent.mkdir(exist_ok=True)
        (complete / name).write_bytes(data)
    assert run_job(songs, complete, "--overwrite") == 0
    assert contents(complete) == contents(features) | foreign


def test_shards_without_a_record_of_their_arguments_are_refused(
    run_job, songs, complete, contents, features, capsys
):
    (complete / INFO).unlink()
    before = contents(complete)
    assert run_job(songs, complete) == 2
    line = one_error_line(capsys)
    assert line.startswith(
        f"error: {complete} holds shards such as '{complete}/test-00000-of-00001"
    )
    assert "and no record of their arguments; choose another --output" in line
    assert contents(complete) == before
    assert run_job(songs, complete, "--overwrite") == 0
    assert contents(complete) == contents(features)


def test_damaged_dataset_info_is_refused(run_job, songs, complete, capsys):
    (complete / INFO).write_text("{")
    assert run_job(songs, complete) == 2
    assert f"{complete / INFO} is not a dataset_info.json: the file: " in one_error_line(capsys)
