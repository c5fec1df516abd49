"""The whole job: what it writes, from which settings, and what it rejects."""

import re
from pathlib import Path

import numpy as np
import pytest

from beam_features.__main__ import main
from beam_features.datasets.sample import STYLES
from beam_features.datasets.split import split
from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from tests.beam_features.conftest import SONGS, write_noise
from tests.beam_features.job.conftest import (
    INFO,
    REJECTED,
    one_error_line,
    read_info,
    read_rejected,
)
from tests.processes import messages

# What it writes


def test_files(features, contents):
    """Six songs fall to train by hash, one to validation, one to test: no empty shards."""
    assert set(contents(features)) == {
        INFO,
        REJECTED,
        "shards.jsonl",
        "sources.parquet",
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
        "validation-00000-of-00001.tfrecord",
        "test-00000-of-00001.tfrecord",
    }


def test_dataset_info_counts(features):
    info = read_info(features)
    assert info.label_names == ("dog", "rain", "rain/heavy")
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
    partitions, labels = split(SONGS), {}
    for name, part in info.partitions.items():
        for shard in part.shard_names():
            for strip in read_strips(features / shard, info.feature_spec):
                assert partitions[strip.context_id] == name
                labels[strip.context_id] = {info.label_names[label] for label in strip.labels}
    assert labels == {song: {str(Path(song).parent)} for song in labels}
    assert len(labels) == 8


def test_same_input_gives_the_same_bytes_and_progress_is_reported(
    run_job, songs, features, contents, tmp_path, capsys
):
    assert run_job(songs, tmp_path / "out") == 0
    assert contents(tmp_path / "out") == contents(features)
    stdout, stderr = capsys.readouterr()
    first, *_, progress, last = messages(stderr)
    assert first == "4 shards, 0 of them finished by an earlier run"
    assert re.match(
        r"4 of 4 shards, 0\.02 h of audio in \d+ s \(\d+ times real time\), 1\.7 MB read, ",
        progress,
    )
    assert last == f"wrote {tmp_path / 'out'}"
    assert stdout == (
        "partition      recordings     silent  cancelled duplicates     strips      tiles"
        "      hours\n"
        "test                    1          0          0          0          1          1"
        "       0.00\n"
        "train                   6          0          0          0          7         81"
        "       0.02\n"
        "validation              1          0          0          0          1          2"
        "       0.00\n"
        "rejected: none\n"
    )


@pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")
@pytest.mark.parametrize("name", ["out [1]", "rejected-runs", "ünïcode", "out/"])
def test_output_of_any_name(run_job, songs, features, contents, tmp_path, name):
    output = tmp_path / name
    assert run_job(f"{songs}/", f"{tmp_path}/{name}") == 0
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
    two_styles = dict(list(STYLES.items())[:2])
    monkeypatch.setattr("beam_features.datasets.sample.STYLES", two_styles)
    monkeypatch.setattr(
        "beam_features.datasets.sample.SONGS_PER_CLASS", {"train": 2, "validation": 1, "test": 1}
    )
    output = tmp_path / "out"
    assert main(["--dataset", "sample", "--output", str(output)]) == 0
    info = read_info(output)
    assert info.source["input"] == "sample:0"
    tiles = {name: part.tiles for name, part in info.partitions.items()}
    assert tiles == {"train": 2 * 2 * 12, "validation": 2 * 12, "test": 2 * 12}


# Recordings that cannot be used


def test_unusable_recordings_are_listed_and_the_others_remain(tolerated, features, damaged_songs):
    # Half of 64,044 bytes, less the header of 44.
    cut = "the header says 64000 bytes of audio, 31978 follow"
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


def test_too_many_rejections_fail_the_job(run_job, damaged_songs, failed, capsys):
    """The empty file is no recording, so it does not count, but it is in the list."""
    assert len(read_rejected(failed)) == 3
    assert not (failed / INFO).exists()
    assert run_job(damaged_songs, failed, "--max-failure-rate", "0.19") == 1
    assert one_error_line(capsys) == (
        "error: 2 of 10 recordings (20.0%) were rejected, more than --max-failure-rate 0.19; "
        f"the reasons are in {failed / REJECTED}"
    )
    assert len(read_rejected(failed)) == 3
    assert not (failed / INFO).exists()


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
    first, *_ = messages(capsys.readouterr().err)
    assert first == "4 shards, 3 of them finished by an earlier run"
    assert read_info(output).rejected == {}


def test_file_that_esc50s_table_names_may_be_missing(tmp_path, read_strips):
    root, output = tmp_path / "esc50", tmp_path / "out"
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = [
        f"{fold}-{clip}.wav,{fold},{clip},s{fold}" for fold in (1, 2) for clip in ("dog", "sea")
    ]
    table = "\n".join(["filename,fold,category,src_file", *rows])
    (root / "meta" / "esc50.csv").write_text(table)
    for seed, name in enumerate(("1-dog.wav", "1-sea.wav", "2-dog.wav")):
        write_noise(root / "audio" / name, 2.5, 16_000, seed)
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
