"""Finished and failed jobs to look at, and copies of them to change."""

import json
import shutil
from pathlib import Path

import pytest

from beam_features.schema.dataset_info import DatasetInfo, parse_dataset_info
from tests.processes import error_in

REJECTED = "rejected-00000-of-00001.jsonl"
INFO = "dataset_info.json"


def read_info(output: Path) -> DatasetInfo:
    return parse_dataset_info((output / INFO).read_text(), INFO)


def read_rejected(output: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (output / REJECTED).read_text().splitlines()]


def one_error_line(capsys) -> str:
    return error_in(capsys.readouterr().err)


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
