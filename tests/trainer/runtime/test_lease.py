"""One process at a time owns a job directory, whatever becomes of it."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dem.errors import JobError
from tests.processes import ROOT
from trainer.runtime.lease import LEASE, hold_lease

DEADLINE_S = 0.6  # renewed every 0.2 s


def no() -> bool:
    return False


def write_lease(job: Path, expires_s: float, **other: object) -> bytes:
    """The lease of a process on another machine."""
    owner = {
        "host": "elsewhere",
        "pid": 7,
        "since": "2026-01-01T00:00:00+00:00",
        "system": "another boot",
        "process_start": "1",
        "id": "other",
        "expires_s": time.time() + expires_s,
    }
    job.mkdir(exist_ok=True)
    content = json.dumps(owner | other).encode()
    (job / LEASE).write_bytes(content)
    return content


@pytest.fixture
def job(tmp_path: Path) -> Path:
    return tmp_path / "job"


@pytest.fixture
def start_holder(job: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start a process that owns the directory when this returns."""
    started = []

    def start() -> subprocess.Popen[str]:
        words = [sys.executable, "-m", "tests.trainer.runtime.lease_holder", str(job)]
        pipe = subprocess.PIPE
        holder = subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(holder)
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in started:
        holder.kill()
        holder.communicate()


def test_it_is_renewed_while_held_and_gone_after(job: Path) -> None:
    with hold_lease(str(job), lambda: True, DEADLINE_S) as stops:
        first = json.loads((job / LEASE).read_bytes())
        time.sleep(2 * DEADLINE_S)
        second = json.loads((job / LEASE).read_bytes())
        assert second["expires_s"] > time.time()
        assert second | {"expires_s": 0} == first | {"expires_s": 0}
        assert stops()
    assert list(job.iterdir()) == []


def test_another_process_is_refused_while_the_first_lives(
    job: Path, start_holder: Callable[[], subprocess.Popen[str]]
) -> None:
    holder = start_holder()
    match = rf"job is in use by process {holder.pid} on .*stop that process, wait for its end, or"
    with pytest.raises(JobError, match=match), hold_lease(str(job), no, DEADLINE_S):
        pass
    assert (job / LEASE).exists()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_next_process_need_not_wait_for_one_that_has_ended(
    job: Path, start_holder: Callable[[], subprocess.Popen[str]], how: signal.Signals
) -> None:
    """A deadline of 60 s has not passed; a killed one is not even reaped."""
    holder = start_holder()
    begin = time.monotonic()
    holder.send_signal(how)
    if how is not signal.SIGKILL:
        assert holder.wait() == 143
        assert not (job / LEASE).exists()
    with hold_lease(str(job), no):
        assert time.monotonic() - begin < 3


def test_the_lease_of_another_machine_is_free_after_its_deadline(job: Path) -> None:
    write_lease(job, 0.5)
    begin = time.monotonic()
    with hold_lease(str(job), no, DEADLINE_S):
        assert 0.4 < time.monotonic() - begin < 2
    write_lease(job, -1)
    begin = time.monotonic()
    with hold_lease(str(job), no, DEADLINE_S):
        assert time.monotonic() - begin < 0.3


def test_one_that_another_machine_renews_is_refused(job: Path) -> None:
    content = write_lease(job, 100)
    with (
        pytest.raises(JobError, match="in use by process 7 on elsewhere, since 2026-01-01T00"),
        hold_lease(str(job), no, DEADLINE_S),
    ):
        pass
    assert (job / LEASE).read_bytes() == content


def test_a_later_process_of_the_same_pid_is_not_the_owner(job: Path) -> None:
    with hold_lease(str(job), no):
        owner = json.loads((job / LEASE).read_bytes())
    write_lease(job, 100, pid=owner["pid"], system=owner["system"])
    begin = time.monotonic()
    with hold_lease(str(job), no):
        assert time.monotonic() - begin < 1


def test_an_owner_whose_lease_was_taken_stops_and_leaves_it_to_the_other(job: Path) -> None:
    with hold_lease(str(job), no, DEADLINE_S) as stops:
        assert not stops()
        content = write_lease(job, 100)
        time.sleep(DEADLINE_S)
        with pytest.raises(JobError, match=r"taken over by process 7 on elsewhere.*without saving"):
            stops()
    assert (job / LEASE).read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"host": "a"}', b"\xff"])
def test_what_is_no_lease_does_not_matter(job: Path, content: bytes) -> None:
    job.mkdir()
    (job / LEASE).write_bytes(content)
    with hold_lease(str(job), no):
        assert json.loads((job / LEASE).read_bytes())["id"]


def test_a_lease_that_was_deleted_is_written_again(job: Path) -> None:
    with hold_lease(str(job), no, DEADLINE_S) as stops:
        (job / LEASE).unlink()
        time.sleep(DEADLINE_S)
        assert (job / LEASE).exists()
        assert not stops()


def test_of_many_that_want_it_one_gets_it(job: Path) -> None:
    def try_once(_: int) -> bool:
        try:
            with hold_lease(str(job), no, 0.4):
                time.sleep(1.5)
                return True
        except JobError:
            return False

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(try_once, range(6))) == 1
