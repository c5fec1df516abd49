"""Finished and failed jobs to look at, and copies of them to change."""

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main
from beam_features.job.tfrecord import read_records
from beam_features.schema.dataset_info import DatasetInfo, parse_dataset_info
from beam_features.schema.strip import decode_strip
from tests.processes import error_in

REJECTED = "rejected-00000-of-00001.jsonl"
INFO = "dataset_info.json"
SONGS = 12
PATIENCE_S = 60


def read_info(output: Path) -> DatasetInfo:
    return parse_dataset_info((output / INFO).read_text(), INFO)


def read_rejected(output: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (output / REJECTED).read_text().splitlines()]


def one_error_line(capsys) -> str:
    return error_in(capsys.readouterr().err)


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} in {PATIENCE_S} s"
        time.sleep(0.005)


def finished(output: Path) -> list[Path]:
    return list(output.glob("incomplete/*-of-*.json"))


@pytest.fixture(scope="session")
def words(tmp_path_factory) -> list[str]:
    """Arguments of a job with a shard per song; each takes about a quarter of a second."""
    source = tmp_path_factory.mktemp("long songs")
    samples = np.random.default_rng(0).normal(0, 0.05, 45 * 44_100)
    for index in range(SONGS):
        soundfile.write(source / f"{index:02d}.wav", np.roll(samples, 999 * index), 44_100)
    return ["--dataset", "folder", "--shards", str(SONGS), "--input", str(source), "--output"]


@pytest.fixture(scope="session")
def undisturbed(words, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main([*words, str(output)]) == 0
    return output


@pytest.fixture(scope="session")
def same(undisturbed, contents) -> Callable[[Path], bool]:
    """Whether a directory holds the bytes of an undisturbed run, and no more than them."""

    def same(output: Path) -> bool:
        assert contents(output) == contents(undisturbed)
        return not [path for path in output.rglob("*") if not path.is_file()]

    return same


@pytest.fixture(scope="session")
def tolerated(damaged_songs, run_job, tmp_path_factory) -> Path:
    """What an undisturbed run makes of `damaged_songs` where failures are allowed."""
    output = tmp_path_factory.mktemp("tolerated") / "out"
    assert run_job(damaged_songs, output, "--max-failure-rate", "0.5") == 0
    return output


@pytest.fixture(scope="session")
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


def tiles_in(output: Path) -> dict[tuple[str, int, str], tuple[str, ...]]:
    """All that training reads: the tiles of each recording, in no order of shards.

    Returns:
        By recording, start in ms and sensor: digest of the tile, label, context and session.
    """
    info = read_info(output)
    found = {}
    for name in (name for part in info.partitions.values() for name in part.shard_names()):
        with (output / name).open("rb") as file:
            for record in read_records(file):
                strip = decode_strip(record, info.feature_spec.tile_shape)
                partition = re.split(r"\+\d+-|-\d{5}-of", name)[0]
                place = (strip.context_id, strip.session_id, partition)
                for tile, recording, start_ms, label in zip(
                    strip.log_mel, strip.recording_ids, strip.start_ms, strip.labels, strict=True
                ):
                    key = (recording, start_ms, strip.sensor_id)
                    assert key not in found
                    label_name = info.label_names[label] if label >= 0 else ""
                    found[key] = (hashlib.sha256(tile.tobytes()).hexdigest(), label_name, *place)
    return found


def files_of(output: Path) -> set[str]:
    """Names of the files that a complete directory holds, by its `dataset_info.json`."""
    shards = {n for part in read_info(output).partitions.values() for n in part.shard_names()}
    return shards | {INFO, REJECTED, "shards.jsonl", "sources.parquet"}
