"""Shares of the plan, made into a bucket by Pods at the same time: one of them completes it."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.buckets.commands import SMALL_FEATURES, start_in
from tests.buckets.faults import Fault
from tests.buckets.storage_service import StorageService
from tests.cluster import finish
from tests.processes import error_line, run

pytestmark = pytest.mark.slow

COUNT = 3
PATIENCE_S = 120


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audio")
    for number in range(36):
        album = root / f"album {number % 12}"
        album.mkdir(exist_ok=True)
        noise = np.random.default_rng(number).normal(0, 0.05, 16_000)
        soundfile.write(album / f"{number}.wav", noise, 8_000)
    return root


def command(audio: Path, output: object) -> tuple[object, ...]:
    """Nine shards or so, in one process."""
    place = ("--dataset", "folder", "--input", audio, "--output", output)
    return (
        "beam_features",
        *place,
        "--shards",
        4,
        "--direct_num_workers=0",
        "--set",
        *SMALL_FEATURES,
    )


@pytest.fixture(scope="module")
def whole(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes on this machine."""
    output = tmp_path_factory.mktemp("whole")
    finished = run(*command(audio, output))
    assert finished.returncode == 0, finished.stderr
    return {path.name: path.read_bytes() for path in output.iterdir()}


@pytest.fixture
def start_pod(
    gcs: StorageService, bucket: str, audio: Path
) -> Callable[[int], subprocess.Popen[str]]:
    def start_pod(index: int) -> subprocess.Popen[str]:
        place = {"JOB_COMPLETION_INDEX": str(index), "DEM_SHARD_COUNT": str(COUNT)}
        return start_in(gcs, *command(audio, f"gs://{bucket}/out"), **place)

    return start_pod


def contents(gcs: StorageService, bucket: str) -> dict[str, bytes]:
    return {name.removeprefix("out/"): gcs.read(bucket, name) for name in gcs.names(bucket, "out/")}


def wait_until(reached: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def begun(gcs: StorageService, bucket: str, index: int) -> list[str]:
    """Plans of the attempts at a share that are under way."""
    ending = f"-{index}-of-{COUNT}/plan.jsonl"
    return [name for name in gcs.names(bucket, "out/incomplete/") if name.endswith(ending)]


def test_three_at_the_same_time_one_of_them_killed(
    gcs: StorageService,
    bucket: str,
    whole: dict[str, bytes],
    start_pod: Callable[[int], subprocess.Popen[str]],
) -> None:
    pods = [start_pod(index) for index in range(COUNT)]
    wait_until(lambda: begun(gcs, bucket, 1))
    pods[1].kill()
    assert finish(pods[1]).returncode == -signal.SIGKILL
    pods[1] = start_pod(1)
    ends = [finish(pod) for pod in pods]
    assert [end.returncode for end in ends] == [0] * COUNT, [end.stderr for end in ends]
    assert contents(gcs, bucket) == whole
    assert sum(f"wrote gs://{bucket}/out" in end.stderr for end in ends) == 1


COMPLETING = "incomplete%2Fcompleting"  # the object by which a Pod takes the right to complete


@pytest.fixture
def ready(
    gcs: StorageService, bucket: str, start_pod: Callable[[int], subprocess.Popen[str]]
) -> None:
    """All shards are made; the last Pod was killed when it asked for the right to complete."""
    asked = Fault(COMPLETING, 503)
    with gcs.inject(asked):
        pods = [start_pod(index) for index in range(COUNT)]
        wait_until(lambda: asked.hits)
        for pod in pods:
            pod.kill()
            finish(pod)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("indices", [(0, 1, 2), (1, 1, 2)], ids=["three shares", "one twice"])
def test_those_that_ask_for_the_right_to_complete_at_the_same_time(
    gcs: StorageService,
    bucket: str,
    whole: dict[str, bytes],
    start_pod: Callable[[int], subprocess.Popen[str]],
    indices: tuple[int, ...],
) -> None:
    asked = Fault(COMPLETING, 503)
    with gcs.inject(asked):
        pods = [start_pod(index) for index in indices]
        wait_until(lambda: asked.hits >= 2 * len(pods))
    ends = [finish(pod) for pod in pods]
    assert [end.returncode for end in ends] == [0] * COUNT, [end.stderr for end in ends]
    assert contents(gcs, bucket) == whole
    wrote = sum(f"wrote gs://{bucket}/out" in end.stderr for end in ends)
    assert 1 <= wrote <= max(map(indices.count, indices))  # both of one share may: the same bytes


@pytest.mark.parametrize("stopped", [True, False])
def test_the_same_share_twice(
    gcs: StorageService,
    bucket: str,
    whole: dict[str, bytes],
    start_pod: Callable[[int], subprocess.Popen[str]],
    stopped: bool,
) -> None:
    """As when a Pod is replaced before it has ended."""
    for index in (0, 2):
        end = finish(start_pod(index))
        assert end.returncode == 0, end.stderr
    first = start_pod(1)
    wait_until(lambda: begun(gcs, bucket, 1))
    second = start_pod(1)
    if stopped:
        time.sleep(2)
        first.terminate()
    ends = [finish(pod) for pod in (first, second)]
    for end in ends:
        said = error_line(end) if end.returncode == 1 else "has taken over"
        assert end.returncode in {0, 1, 143}, end.stderr
        assert "has taken over" in said
    third = finish(start_pod(1))  # nothing to do, or what the last of them could not end
    assert third.returncode == 0, third.stderr
    assert contents(gcs, bucket) == whole
