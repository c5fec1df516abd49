"""The whole job: what it leaves, what it refuses, and how it goes on after a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main
from beam_features.datasets.split import split_by_hash
from beam_features.schema.dataset_info import DatasetInfo, Moments, parse_dataset_info
from beam_features.schema.feature_spec import FeatureSpec
from tests.processes import error_in, messages

REJECTED = "rejected-00000-of-00001.jsonl"
INFO = "dataset_info.json"


def read_info(output: Path) -> DatasetInfo:
    return parse_dataset_info((output / INFO).read_text(), INFO)


def read_rejected(output: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (output / REJECTED).read_text().splitlines()]


def one_error_line(capsys) -> str:
    return error_in(capsys.readouterr().err)


@pytest.fixture(scope="module")
def tolerated(damaged_songs, run_job, tmp_path_factory) -> Path:
    """What an undisturbed run makes of `damaged_songs` where failures are allowed."""
    output = tmp_path_factory.mktemp("tolerated") / "out"
    assert run_job(damaged_songs, output, "--max-failure-rate", "0.5") == 0
    return output


@pytest.fixture(scope="module")
def failed_once(damaged_songs, run_job, tmp_path_factory) -> Path:
    """What a run leaves that finished its shards and failed for 2 of 10 recordings."""
    output = tmp_path_factory.mktemp("failed") / "out"
    assert run_job(damaged_songs, output) == 1
    return output


@pytest.fixture
def failed(failed_once, tmp_path) -> Path:
    """A copy of it to work on."""
    return Path(shutil.copytree(failed_once, tmp_path / "out"))


@pytest.fixture
def complete(features, tmp_path) -> Path:
    """A copy of a complete directory to work on."""
    return Path(shutil.copytree(features, tmp_path / "out"))


# What it leaves


def test_files(features, contents):
    """Six songs fall to train by hash, one to validation, one to test: no empty shards."""
    assert set(contents(features)) == {
        INFO,
        REJECTED,
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "validation-00000-of-00001.tfrecord",
        "test-00000-of-00001.tfrecord",
    }


def test_dataset_info_counts(features):
    info = read_info(features)
    assert info.label_names == ("dog", "heavy", "rain")
    assert info.rejected == {}
    counts = {
        name: (part.recordings, part.strips, part.tiles, part.n_shards)
        for name, part in info.partitions.items()
    }
    assert counts == {
        "test": (1, 1, 1, 1),  # 0.4 s, filled up
        "train": (6, 7, 2 + 1 + 70 + 3 + 3 + 2, 2),  # 70 tiles are two strips
        "validation": (1, 1, 2, 1),
    }
    seconds = {name: part.seconds for name, part in info.partitions.items()}
    expected = {"test": 0.4, "train": 2.5 + 1 + 70 + 3 + 3 + 2, "validation": 2.0}
    assert seconds == pytest.approx(expected, abs=1e-9)


def test_dataset_info_says_where_the_features_come_from(features, songs):
    info = read_info(features)
    assert info.schema_version == 1
    assert info.feature_spec == FeatureSpec()
    assert info.fingerprint == FeatureSpec().fingerprint
    assert {key: info.source[key] for key in ("dataset", "input", "shards", "recordings")} == {
        "dataset": "folder",
        "input": str(songs),
        "shards": 2,
        "recordings": 8,
    }
    assert info.versions["numpy"] == np.__version__
    assert set(info.versions) >= {"apache-beam", "scipy", "soundfile", "soxr"}


def test_moments_and_counts_equal_those_of_the_shards(features, read_strips):
    info = read_info(features)
    for part in info.partitions.values():
        strips = [
            strip
            for name in part.shard_names()
            for strip in read_strips(features / name, info.feature_spec)
        ]
        tiles = np.concatenate([strip.log_mel for strip in strips])
        assert (part.strips, part.tiles) == (len(strips), len(tiles))
        expected = Moments.of(tiles)
        assert part.moments.count == expected.count
        np.testing.assert_allclose(part.moments.sum, expected.sum, rtol=1e-12)
        np.testing.assert_allclose(part.moments.sum_of_squares, expected.sum_of_squares, rtol=1e-12)


def test_every_song_is_in_the_shards_of_its_partition(features, read_strips):
    info = read_info(features)
    labels = {}
    for name, part in info.partitions.items():
        for shard in part.shard_names():
            for strip in read_strips(features / shard, info.feature_spec):
                assert split_by_hash(strip.context_id) == name
                labels[strip.context_id] = {info.label_names[label] for label in strip.labels}
    assert labels == {song: {Path(song).parent.name} for song in labels}
    assert len(labels) == 8


def test_progress_is_told(run_job, songs, tmp_path, capsys):
    assert run_job(songs, tmp_path / "out") == 0
    stdout, stderr = capsys.readouterr()
    first, *_, progress, last = messages(stderr)
    assert first == "4 shards to make, 0 of them are there"
    assert re.match(
        r"4 of 4 shards, 0\.02 h of audio in \d+ s \(\d+ times real time\), 1\.7 MB read, ",
        progress,
    )
    assert last == f"wrote {tmp_path / 'out'}"
    assert stdout == (
        "partition      recordings     silent     strips      tiles      hours\n"
        "test                    1          0          1          1       0.00\n"
        "train                   6          0          7         81       0.02\n"
        "validation              1          0          1          2       0.00\n"
        "rejected: none\n"
    )


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize("name", ["out [1]", "rejected-runs", "ünïcode", "out/"])
def test_output_of_any_name(run_job, songs, features, contents, tmp_path, name):
    output = tmp_path / name
    assert run_job(songs, f"{tmp_path}/{name}") == 0
    assert contents(output) == contents(features)
    assert run_job(songs, f"{tmp_path}/{name}", "--overwrite") == 0
    assert contents(output) == contents(features)


def test_settings_reach_the_features(run_job, songs, tmp_path, read_strips):
    config = tmp_path / "features.yaml"
    config.write_text("n_mels: 20\ntile_s: 0.5\n")
    output = tmp_path / "out"
    assert run_job(songs, output, "--config", str(config), "--set", "n_mels=10") == 0
    info = read_info(output)
    assert info.feature_spec == FeatureSpec(n_mels=10, tile_s=0.5)
    (first, *_) = read_strips(output / info.partitions["train"].shard_names()[0], info.feature_spec)
    assert first.log_mel.shape[1:] == (50, 10)


def test_sample_dataset_by_default_is_seed_0(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "beam_features.datasets.sample.SONGS_PER_CLASS", {"train": 2, "validation": 1, "test": 1}
    )
    output = tmp_path / "out"
    assert main(["--dataset", "sample", "--output", str(output)]) == 0
    info = read_info(output)
    assert info.source["input"] == "sample:0"
    tiles = {name: part.tiles for name, part in info.partitions.items()}
    assert tiles == {"train": 8 * 2 * 12, "validation": 8 * 12, "test": 8 * 12}


# The same again


def test_same_input_gives_the_same_bytes(run_job, songs, features, contents, tmp_path):
    assert run_job(songs, tmp_path / "again") == 0
    assert contents(tmp_path / "again") == contents(features)


def test_processes_and_workers_give_the_same_bytes(features, songs, contents, tmp_path, python):
    words = ["--dataset", "folder", "--input", f"{songs}/", "--shards", "2"]
    output = tmp_path / "out"
    beam = ["--runner=DirectRunner", "--direct_num_workers=2"]
    done = python("-m", "beam_features", *words, "--output", str(output), *beam)
    assert done.returncode == 0, done.stderr
    assert contents(output) == contents(features)


def test_rerun_of_a_complete_job_touches_nothing(run_job, songs, complete, capsys):
    before = {path: path.stat().st_mtime_ns for path in complete.iterdir()}
    assert run_job(songs, complete) == 0
    assert f"{complete} is complete already, nothing to do\n" in capsys.readouterr().err
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
    assert messages(capsys.readouterr().err)[0] == "4 shards to make, 3 of them are there"


def test_killed_for_real_and_started_again(tmp_path, contents):
    """SIGKILL after the first finished shard; the second run completes the same bytes."""
    source = tmp_path / "songs"
    source.mkdir()
    samples = np.random.default_rng(0).normal(0, 0.05, 45 * 44_100)
    for index in range(16):
        soundfile.write(source / f"{index:02d}.wav", np.roll(samples, 999 * index), 44_100)
    words = [sys.executable, "-m", "beam_features", "--dataset", "folder", "--shards", "16"]
    words += ["--input", str(source), "--output"]

    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*words, str(killed)], stdout=log, stderr=log, start_new_session=True
        )
        deadline = time.monotonic() + 60
        while not list(killed.glob("incomplete/*-of-*.json")) and time.monotonic() < deadline:
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, (tmp_path / "log").read_text()
    finished = list(killed.glob("incomplete/*-of-*.json"))
    assert not (killed / INFO).exists()

    again = subprocess.run([*words, str(killed)], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f" shards to make, {len(finished)} of them are there\n" in again.stderr
    assert main([*words[3:], str(whole)]) == 0
    assert 0 < len(finished) < len(list(whole.glob("*.tfrecord")))
    assert contents(killed) == contents(whole)
    assert not [path for path in killed.rglob("*") if path.is_dir() or path.suffix == ".tmp"]


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


def test_changed_listing_is_refused(run_job, make_songs, contents, tmp_path, capsys):
    source, output = make_songs(tmp_path / "songs"), tmp_path / "out"
    assert run_job(source, output) == 0
    before = contents(output)
    capsys.readouterr()

    (source / "rain/7.wav").rename(source / "rain/70.wav")
    assert run_job(source, output) == 2
    assert "listing_sha256: " in one_error_line(capsys)

    shutil.copy(source / "rain/70.wav", source / "rain/7.wav")
    assert run_job(source, output) == 2
    assert "recordings: stored 8, requested 9" in one_error_line(capsys)

    (source / "rain/7.wav").unlink()
    (source / "rain/70.wav").rename(source / "rain/7.wav")
    (source / "rain/._7.wav").touch()
    assert run_job(source, output) == 2
    assert "skipped: stored 0, requested 1" in one_error_line(capsys)
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


# Recordings that cannot be used


def test_unusable_recordings_are_listed_and_the_others_remain(tolerated, features, damaged_songs):
    cut = "the data chunk promises 64000 bytes, 31978 are there"  # of 64,044 bytes half, less 44
    assert read_rejected(tolerated) == [
        {
            "uri": f"{damaged_songs}/{name}",
            "stage": stage,
            "reason": reason,
            "detail": detail,
        }
        for name, stage, reason, detail in [
            ("dog/empty.wav", "list", "empty", "the file has 0 bytes"),
            ("dog/words.wav", "decode", "not_audio", "Format not recognised."),
            ("rain/cut.wav", "decode", "truncated", cut),
        ]
    ]
    info, good = read_info(tolerated), read_info(features)
    assert info.rejected == {"empty": 1, "not_audio": 1, "truncated": 1}
    assert info.label_names == good.label_names
    for name, part in good.partitions.items():
        there = info.partitions[name]
        assert (there.tiles, there.recordings) == (part.tiles, part.recordings)


def test_too_many_rejections_fail_the_job(run_job, damaged_songs, tmp_path, capsys):
    """The empty file is no recording, so it does not count, but it is in the list."""
    output = tmp_path / "out"
    assert run_job(damaged_songs, output, "--max-failure-rate", "0.19") == 1
    assert one_error_line(capsys) == (
        "error: 2 of 10 recordings (20.0%) were rejected, more than --max-failure-rate 0.19; "
        f"the reasons are in {output / REJECTED}"
    )
    assert len(read_rejected(output)) == 3
    assert not (output / INFO).exists()


def test_higher_failure_rate_completes_without_decoding_again(
    run_job, damaged_songs, failed, tolerated, contents
):
    before = {path.name: path.stat().st_mtime_ns for path in failed.glob("*.tfrecord")}
    assert run_job(damaged_songs, failed, "--max-failure-rate", "0.2") == 0
    assert {path.name: path.stat().st_mtime_ns for path in failed.glob("*.tfrecord")} == before
    assert contents(failed) == contents(tolerated)


def test_what_could_not_be_read_is_tried_again(run_job, make_songs, tmp_path, as_nobody, capsys):
    """Unlike what cannot be decoded: permissions and storage recover."""
    source, output = make_songs(tmp_path / "songs"), tmp_path / "out"
    (source / "rain/7.wav").chmod(0)
    output.mkdir()
    output.chmod(0o777)
    with as_nobody():
        assert run_job(source, output) == 1
    assert [line["reason"] for line in read_rejected(output)] == ["unreadable"]
    (source / "rain/7.wav").chmod(0o644)
    capsys.readouterr()
    assert run_job(source, output) == 0
    assert messages(capsys.readouterr().err)[0] == "4 shards to make, 3 of them are there"
    assert read_info(output).rejected == {}


def test_file_that_esc50s_table_names_may_be_missing(songs, tmp_path, read_strips):
    root, output = tmp_path / "esc50", tmp_path / "out"
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = [
        f"{fold}-{clip}.wav,{fold},{clip},s{fold}" for fold in (1, 2) for clip in ("dog", "sea")
    ]
    table = "\n".join(["filename,fold,category,src_file", *rows])
    (root / "meta" / "esc50.csv").write_text(table)
    for name in ("1-dog.wav", "1-sea.wav", "2-dog.wav"):
        shutil.copy(songs / "dog/1.wav", root / "audio" / name)
    words = ["--dataset", "esc50", "--input", str(root), "--output", str(output)]
    assert main([*words, "--max-failure-rate", "0.25", "--shards", "1"]) == 0
    assert read_rejected(output) == [
        {
            "uri": f"{root}/audio/2-sea.wav",
            "stage": "read",
            "reason": "missing",
            "detail": "there is no such file",
        }
    ]
    info = read_info(output)
    assert {name: part.recordings for name, part in info.partitions.items()} == {
        "fold1": 2,
        "fold2": 1,
    }
    (strip,) = read_strips(output / "fold2-00000-of-00001.tfrecord", info.feature_spec)
    assert (strip.context_id, strip.session_id, strip.labels) == ("2-dog.wav", "s2", (0, 0))
