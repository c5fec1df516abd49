"""Pods without an engine: each makes its shards of the plan, the last one completes the output."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beam_features.job.output import Claim, Output
from beam_features.job.share import Share, share_of
from dem.errors import InputError
from tests.beam_features.job.conftest import one_error_line
from tests.processes import ROOT, messages

COUNT = 3
PATIENCE_S = 120


@pytest.fixture(scope="module")
def whole(songs, run_job, tmp_path_factory) -> Path:
    """What one process makes of the same songs, in seven shards."""
    output = tmp_path_factory.mktemp("whole") / "out"
    assert run_job(songs, output, "--shards", "5") == 0
    return output


@pytest.fixture
def make(songs, run_job, tmp_path) -> Callable[..., int]:
    """Make a share in this process."""

    def make(index: int, *options: str, count: int = COUNT) -> int:
        words = ("--shards", "5", "--shard-index", str(index), "--shard-count", str(count))
        return run_job(songs, tmp_path / "out", *words, *options)

    return make


def shards_in(output: Path) -> list[str]:
    return sorted(path.name for path in output.glob("*.tfrecord"))


def test_shares_are_disjoint_and_all():
    planned = list(range(10))
    shares = [Share(index, 3).of(planned) for index in range(3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]
    assert Share(5, 6).of([0, 1]) == []


@pytest.mark.parametrize(
    ("index", "count", "environment", "expected"),
    [
        (None, None, {}, None),
        (None, None, {"JOB_COMPLETION_INDEX": "1"}, None),  # any Indexed Job
        (1, 3, {"JOB_COMPLETION_INDEX": "2", "DEM_SHARD_COUNT": "4"}, Share(1, 3)),
        (None, None, {"JOB_COMPLETION_INDEX": "2", "DEM_SHARD_COUNT": "4"}, Share(2, 4)),
        (None, 4, {"JOB_COMPLETION_INDEX": "0"}, Share(0, 4)),
        (0, None, {}, "--shard-index 0 needs --shard-count, or DEM_SHARD_COUNT"),
        (None, 2, {}, "--shard-count 2 needs --shard-index, or JOB_COMPLETION_INDEX"),
        (2, 2, {}, "--shard-index must be 0 to --shard-count - 1, not 2 of 2"),
        (-1, 2, {}, "--shard-index must be 0 to --shard-count - 1, not -1 of 2"),
        (0, 0, {}, "--shard-index must be 0 to --shard-count - 1, not 0 of 0"),
        (0, None, {"DEM_SHARD_COUNT": "two"}, "DEM_SHARD_COUNT must be a whole number, not 'two'"),
    ],
)
def test_share_of(index, count, environment, expected):
    if isinstance(expected, str):
        with pytest.raises(InputError) as caught:
            share_of(index, count, environment)
        assert str(caught.value) == expected
    else:
        assert share_of(index, count, environment) == expected


def test_each_makes_its_own_and_the_last_completes(make, whole, contents, tmp_path, capsys):
    output = tmp_path / "out"
    planned = shards_in(whole)
    for done, index in enumerate((2, 0)):
        assert make(index) == 0
        mine = Share(index, COUNT).of(planned)
        _, *_, last = messages(capsys.readouterr().err)
        missing = len(planned) - len(shards_in(output))
        assert last == (
            f"share {index} of 3 is finished; {missing} of {len(planned)} shards are missing in "
            "other shares, whose last one completes the output"
        )
        assert set(mine) <= set(shards_in(output))
        assert not (output / "dataset_info.json").exists()
        assert len(list(output.glob("incomplete/run-*"))) == done + 1
    assert make(2) == 0  # a Pod that is started again has nothing to do
    assert len(list(output.glob("incomplete/run-*"))) == 2
    assert make(1) == 0
    assert contents(output) == contents(whole)
    assert make(0) == 0
    assert f"{output} is already complete, nothing to do" in capsys.readouterr().err
    assert contents(output) == contents(whole)


def test_a_run_without_shares_completes_what_they_left(
    make, songs, run_job, whole, contents, tmp_path, capsys
):
    assert make(1) == 0
    assert run_job(songs, tmp_path / "out", "--shards", "5") == 0
    assert "shards, 2 of them finished by an earlier run" in capsys.readouterr().err
    assert contents(tmp_path / "out") == contents(whole)


def test_another_number_of_shares_goes_on(make, whole, contents, tmp_path):
    assert make(0) == 0
    for index in (1, 0):
        assert make(index, count=2) == 0
    assert contents(tmp_path / "out") == contents(whole)


def test_one_of_several_completes_the_output(tmp_path):
    """Also after it was killed; what an earlier run left does not count."""
    output, claim = Output(str(tmp_path)), Claim({}, 0, "a", ())
    assert output.is_ours_to_complete(claim, Share(1, 3))
    assert not output.is_ours_to_complete(claim, Share(2, 3))
    assert output.is_ours_to_complete(claim, Share(1, 3))
    assert output.is_ours_to_complete(claim, Share(0, 2))
    assert output.is_ours_to_complete(Claim({}, 1, "b", ()), Share(1, 2))
    assert not output.is_ours_to_complete(Claim({}, 1, "b", ()), Share(0, 2))


def test_nobody_completes_what_is_complete(make, tmp_path):
    """Also not a Pod that has seen all shards, and asks when the right is deleted already."""
    output, claim = Output(str(tmp_path / "out")), Claim({}, 0, "a", ())
    for index in range(COUNT):
        assert make(index) == 0
    assert not output.is_ours_to_complete(claim, Share(0, 3))
    assert not (tmp_path / "out/incomplete").exists()
    assert output.is_ours_to_complete(Claim({}, 1, "b", ()), Share(0, 3))
    assert not output.is_ours_to_complete(claim, Share(1, 3))


def test_overwriting_is_refused(make, tmp_path, capsys):
    assert make(1, "--overwrite") == 2
    assert one_error_line(capsys) == (
        "error: --overwrite would delete what other shares than 1 of 3 make; delete "
        f"{tmp_path}/out or choose another --output"
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_pods_at_the_same_time_killed_and_replaced(seed, songs, whole, contents, tmp_path):
    """Each Pod is a process, killed at a random moment, three times at most, and started again."""
    output, randomness = tmp_path / "out", random.Random(seed)
    words = [sys.executable, "-m", "beam_features", "--dataset", "folder", "--input", str(songs)]
    words += ["--shards", "5", "--output", str(output), f"--shard-count={COUNT}"]

    def start(index: int) -> subprocess.Popen[bytes]:
        with (tmp_path / f"log{index}").open("ab") as log:
            return subprocess.Popen(
                [*words, f"--shard-index={index}"], cwd=ROOT, stdout=log, stderr=log
            )

    pods = {index: start(index) for index in range(COUNT)}
    kills, deadline = 3, time.monotonic() + PATIENCE_S
    try:
        while pods:
            assert time.monotonic() < deadline
            time.sleep(randomness.uniform(0.5, 4))
            if kills:
                pods[randomness.choice(list(pods))].send_signal(signal.SIGKILL)
                kills -= 1
            for index, pod in list(pods.items()):
                if pod.poll() == 0:
                    del pods[index]
                elif pod.poll() is not None:
                    assert pod.returncode == -signal.SIGKILL, (tmp_path / f"log{index}").read_text()
                    pods[index] = start(index)
    finally:
        for pod in pods.values():
            pod.kill()
    assert contents(output) == contents(whole)
    assert not (output / "incomplete").exists()
