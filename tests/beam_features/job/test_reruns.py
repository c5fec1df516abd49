"""Runs after the files have changed: what is kept, and that the tiles are those of a fresh run."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main
from beam_features.schema.sources import read_sources
from tests.beam_features.conftest import write_noise
from tests.beam_features.job.conftest import (
    INFO,
    REJECTED,
    files_of,
    one_error_line,
    read_info,
    read_rejected,
    tiles_in,
)
from tests.processes import messages

Change = Callable[[Path], object]


@pytest.fixture
def library(make_songs, tmp_path) -> Path:
    """Eight songs that a test may change."""
    return make_songs(tmp_path / "songs")


@pytest.fixture
def output(library, run_job, tmp_path) -> Path:
    assert run_job(library, tmp_path / "out") == 0
    return tmp_path / "out"


def add(library: Path) -> None:
    write_noise(library / "rain/77.wav", 2.0, 16_000, seed=77)


def add_a_label_and_a_partition(library: Path) -> None:
    for name in "abcdefgh":
        write_noise(library / f"cat/{name}.wav", 1.5, 16_000, seed=ord(name))


def remove(library: Path) -> None:
    (library / "dog/4.wav").unlink()


def remove_a_label(library: Path) -> None:
    shutil.rmtree(library / "dog")


def replace(library: Path) -> None:
    write_noise(library / "dog/1.wav", 2.5, 16_000, seed=99)


def move(library: Path) -> None:
    (library / "rain/7.wav").rename(library / "dog/7.wav")


def damage(library: Path) -> None:
    (library / "dog/4.wav").write_text("these are words")


def all_at_once(library: Path) -> None:
    for change in (add, add_a_label_and_a_partition, remove, replace, move):
        change(library)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add, "1 new, 8 kept"),
        (add_a_label_and_a_partition, "8 new, 1 changed, 7 kept"),
        (remove, "7 kept, 1 gone"),
        (remove_a_label, "2 changed, 2 kept, 4 gone"),
        (replace, "1 changed, 7 kept"),
        (move, "1 new, 7 kept, 1 gone"),
        (damage, "1 changed, 7 kept"),
        (all_at_once, "10 new, 1 changed, 5 kept, 2 gone"),
    ],
)
def test_an_update_holds_the_tiles_of_a_fresh_run(
    change: Change, said, library, output, run_job, tmp_path, capsys
):
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    bytes_before = {path.name: path.read_bytes() for path in output.glob("*.tfrecord")}
    change(library)
    capsys.readouterr()
    assert run_job(library, output, "--max-failure-rate", "0.5") == 0
    first, *_ = messages(capsys.readouterr().err)
    assert first == said
    assert run_job(library, tmp_path / "fresh", "--max-failure-rate", "0.5") == 0
    assert tiles_in(output) == tiles_in(tmp_path / "fresh")
    assert {path.name for path in output.iterdir()} == files_of(output)
    kept = files_of(output) & before.keys()
    assert {name: (output / name).stat().st_mtime_ns for name in kept} == {
        name: before[name] for name in kept
    }
    assert all((output / name).read_bytes() == bytes_before[name] for name in kept)
    ours, fresh = read_info(output), read_info(tmp_path / "fresh")
    assert ours.rejected == fresh.rejected
    for name, part in fresh.partitions.items():
        there = ours.partitions[name]
        assert (there.strips, there.tiles, there.recordings) == (
            part.strips,
            part.tiles,
            part.recordings,
        )
        assert there.seconds == pytest.approx(part.seconds)
        np.testing.assert_allclose(there.moments.mean, part.moments.mean, rtol=1e-12)
    again = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    assert run_job(library, output, "--max-failure-rate", "0.5") == 0
    assert f"{output} is already complete, nothing to do" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == again


def test_a_copy_that_names_the_session_changes_the_original_too(
    library, output, run_job, tmp_path, capsys
):
    """Equal files have the session of the first name; with the copy gone all is as before."""
    tiles = tiles_in(output)
    shutil.copy(library / "rain/5.wav", library / "dog/0.wav")
    capsys.readouterr()
    assert run_job(library, output) == 0
    copies, changes, *_ = messages(capsys.readouterr().err)
    assert copies == "1 of 9 files are copies of another; copies share a session"
    assert changes.startswith("1 new, ")
    assert run_job(library, tmp_path / "fresh") == 0
    assert tiles_in(output) == tiles_in(tmp_path / "fresh")
    assert read_info(output).remarks == read_info(tmp_path / "fresh").remarks
    (library / "dog/0.wav").unlink()
    assert run_job(library, output) == 0
    assert tiles_in(output) == tiles
    assert read_info(output).remarks == ()


def test_labels_keep_their_ids_and_new_ones_follow(library, output, run_job):
    before = read_info(output).label_names
    remove_a_label(library)
    add_a_label_and_a_partition(library)
    assert run_job(library, output) == 0
    assert read_info(output).label_names == (*before, "cat")


def test_what_was_changed_and_changed_back_is_as_it_was(library, output, run_job, contents):
    """The last update keeps all shards of the first run, and copies nothing."""
    before = {path.name: path.read_bytes() for path in output.glob("*.tfrecord")}
    add(library)
    assert run_job(library, output) == 0
    (library / "rain/77.wav").unlink()
    assert run_job(library, output) == 0
    assert {path.name: path.read_bytes() for path in output.glob("*.tfrecord")} == before


def test_sources_list_every_recording(library, output, run_job, capsys):
    add(library)
    damage(library)
    assert run_job(library, output, "--max-failure-rate", "0.5") == 0
    sources = {source.recording: source for source in read_sources(f"{output}/sources.parquet")}
    assert len(sources) == 9
    assert (sources["rain/77.wav"].seconds, sources["rain/77.wav"].rejected) == (2.0, None)
    assert sources["rain/77.wav"].bytes == (library / "rain/77.wav").stat().st_size
    assert sources["rain/77.wav"].shard in files_of(output)
    assert (sources["dog/4.wav"].rejected, sources["dog/4.wav"].shard) == ("not_audio", None)
    stdout = capsys.readouterr().out
    assert stdout.endswith("rejected: 1\n  not_audio             1  dog/4.wav\n")


def test_a_skipped_file_is_listed_without_making_a_shard(library, output, run_job, capsys):
    before = {path.name: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")}
    (library / "rain/._7.wav").write_text("x")
    capsys.readouterr()
    assert run_job(library, output) == 0
    assert {path.name: path.stat().st_mtime_ns for path in output.glob("*.tfrecord")} == before
    assert [line["reason"] for line in read_rejected(output)] == ["hidden"]
    assert "0 shards" not in capsys.readouterr().err


def test_a_file_that_could_not_be_read_is_tried_again_after_completion(
    library, tmp_path, run_job, as_nobody, capsys
):
    output = tmp_path / "out"
    (library / "rain/7.wav").chmod(0)
    output.mkdir()
    output.chmod(0o777)
    with as_nobody():
        assert run_job(library, output, "--max-failure-rate", "0.5") == 0
        shards = sorted(path.name for path in output.glob("*.tfrecord"))
        digest = read_info(output).content_sha256
        assert run_job(library, output, "--max-failure-rate", "0.5") == 0
        assert sorted(path.name for path in output.glob("*.tfrecord")) == shards
        assert read_info(output).content_sha256 == digest
    assert "7 kept, 1 retried" in capsys.readouterr().err
    (library / "rain/7.wav").chmod(0o644)
    assert run_job(library, output) == 0
    assert read_info(output).rejected == {}
    assert run_job(library, tmp_path / "fresh") == 0
    assert tiles_in(output) == tiles_in(tmp_path / "fresh")


def test_a_lost_or_truncated_shard_is_made_again(library, output, run_job, tmp_path):
    expected = tiles_in(output)
    (output / "train-00000-of-00002.tfrecord").unlink()
    os.truncate(output / "train-00001-of-00002.tfrecord", 1000)
    assert run_job(library, output) == 0
    assert tiles_in(output) == expected


def test_a_corrupt_shard_that_is_to_be_copied_is_decoded(library, output, run_job, tmp_path):
    remove(library)
    for path in output.glob("train-*.tfrecord"):
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
    (library / "dog/3 [live].wav").touch()
    for path in (library / "rain").glob("*.wav"):
        path.touch()
    assert run_job(library, output) == 0
    assert run_job(library, tmp_path / "fresh") == 0
    assert tiles_in(output) == tiles_in(tmp_path / "fresh")


@pytest.mark.parametrize("text", ["{", '{"shard": NaN}'])
def test_a_record_that_cannot_be_read_counts_as_not_written(
    text, library, output, run_job, tmp_path
):
    expected = tiles_in(output)
    (output / "shards.jsonl").write_text(text)
    assert run_job(library, output) == 0
    assert tiles_in(output) == expected
    assert {path.name for path in output.iterdir()} == files_of(output)


@pytest.mark.parametrize("text", ["", '{"strips": 1}', "\0"])
def test_a_summary_that_cannot_be_read_is_made_anew(
    text, run_job, damaged_songs, failed, tolerated
):
    for path in failed.glob("incomplete/*-of-*.json"):
        path.write_text(text)
    assert run_job(damaged_songs, failed, "--max-failure-rate", "0.5") == 0
    assert tiles_in(failed) == tiles_in(tolerated)


def test_a_summary_of_nan_is_made_anew(run_job, damaged_songs, failed, tolerated):
    """What versions before 0.3 wrote for samples that overflow."""
    path = failed / "incomplete" / "train-00000-of-00002.json"
    summary = json.loads(path.read_text())
    summary["summary"]["moments"]["sum"][0] = float("nan")
    path.write_text(json.dumps(summary))
    assert run_job(damaged_songs, failed, "--max-failure-rate", "0.5") == 0
    assert tiles_in(failed) == tiles_in(tolerated)


def test_an_unfinished_run_goes_on_when_the_files_have_changed(
    run_job, damaged_songs, failed, tmp_path, capsys
):
    """Too many recordings are rejected; the user removes the damaged ones."""
    library = Path(shutil.copytree(damaged_songs, tmp_path / "songs"))
    output = tmp_path / "first"
    assert run_job(library, output) == 1
    (library / "rain/cut.wav").unlink()
    (library / "dog/words.wav").unlink()
    add(library)
    capsys.readouterr()
    assert run_job(library, output) == 0
    first, second, *_ = messages(capsys.readouterr().err)
    assert first == "1 new, 8 kept, 2 gone"
    assert second == "5 shards, 4 of them finished by an earlier run"
    assert run_job(library, tmp_path / "fresh") == 0
    assert tiles_in(output) == tiles_in(tmp_path / "fresh")


def test_too_many_rejections_leave_the_old_state(library, output, run_job, capsys):
    before = (output / INFO).read_bytes()
    expected = tiles_in(output)
    damage(library)
    capsys.readouterr()
    assert run_job(library, output) == 1
    stdout, stderr = capsys.readouterr()
    assert "error: 1 of 8 recordings (12.5%) were rejected, more than --max-failure-rate 0.1; " in (
        stderr
    )
    assert stdout.endswith("rejected: 1\n  not_audio             1  dog/4.wav\n")
    assert (output / INFO).read_bytes() == before
    assert tiles_in(output) == expected


def test_a_benchmark_set_is_strict_and_a_library_is_not(make_songs, tmp_path, capsys):
    """One of 20 recordings is damaged: 5 %."""
    root = tmp_path / "esc50"
    (root / "meta").mkdir(parents=True)
    rows = [f"{fold}-{k}.wav,{fold},a,s{fold}" for fold in (1, 2) for k in range(10)]
    (root / "meta/esc50.csv").write_text("\n".join(["filename,fold,category,src_file", *rows]))
    for row in rows:
        write_noise(root / "audio" / row.split(",")[0], 1.0, 16_000, seed=len(row))
    (root / "audio/1-0.wav").write_text("these are words")
    words = ["--input", str(root), "--shards", "1"]
    assert main(["--dataset", "esc50", "--output", str(tmp_path / "strict"), *words]) == 1
    assert "more than --max-failure-rate 0.01" in one_error_line(capsys)
    assert main(["--dataset", "folder", "--output", str(tmp_path / "lenient"), *words]) == 0
    assert "1 of 20 recordings (5.0%) were rejected; the reasons are in " in capsys.readouterr().err


def test_features_of_an_earlier_version_are_not_updated(library, output, run_job, capsys):
    info = json.loads((output / INFO).read_text())
    del info["source"]["update"]
    (output / INFO).write_text(json.dumps(info))
    (output / "shards.jsonl").unlink()
    capsys.readouterr()
    assert run_job(library, output) == 0
    assert "is already complete, nothing to do" in capsys.readouterr().err
    add(library)
    assert run_job(library, output) == 2
    line = one_error_line(capsys)
    assert "was made from other recordings by an earlier version" in line
    assert "--overwrite" in line
    assert run_job(library, output, "--overwrite") == 0


def test_files_of_others_are_not_deleted(library, output, run_job, capsys):
    (output / "incomplete").mkdir()
    (output / "incomplete" / "my.mp3").write_text("mine")
    for more in ([], ["--overwrite"]):
        assert run_job(library, output, *more) == 2
        assert f"{output}/incomplete/my.mp3 is not a file of this job" in one_error_line(capsys)
    assert (output / "incomplete" / "my.mp3").read_text() == "mine"


@pytest.mark.parametrize(
    "uri", ["file:///x", "https://example.com/a", "s3://b/Music", "hdfs://x/y"]
)
def test_input_of_no_known_storage(uri, tmp_path, capsys):
    words = ["--dataset", "folder", "--output", str(tmp_path / "out")]
    assert main([*words, "--input", uri]) == 2
    assert one_error_line(capsys) == f"error: unsupported storage {uri!r}; give a path or gs://…"


def test_output_among_the_music(library, run_job, contents, capsys):
    before = contents(library)
    for output in (library, library / "features"):
        assert run_job(library, output) == 2
        assert "the shards would lie among the audio files" in one_error_line(capsys)
    assert contents(library) == before


def test_a_huge_sample_is_a_rejection(library, run_job, tmp_path, capsys):
    """A float of 1e25, whose power overflows."""
    samples = np.random.default_rng(0).normal(0, 0.05, 32_000)
    samples[16_000] = 1e25
    soundfile.write(library / "rain/huge.wav", samples, 16_000, subtype="FLOAT")
    output = tmp_path / "out"
    assert run_job(library, output, "--max-failure-rate", "0.5") == 0
    assert [Path(line["uri"]).name for line in read_rejected(output)] == ["huge.wav"]
    assert (output / REJECTED).exists()
