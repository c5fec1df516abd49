"""The process that forks workers, without Beam's runner."""

import signal
import time

import pytest

from beam_features.job.fork import ForkServer, _how

PATIENCE_S = 60


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "ended with exit code 0"),
        (1, "ended with exit code 1"),
        (-signal.SIGKILL, "was killed by SIGKILL (out of memory?)"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
    ],
)
def test_how_a_process_ended(status, words):
    assert _how(status) == words


def test_a_worker_that_cannot_begin_is_lost_and_no_more_are_started(capfd):
    """It lacks the address of its runner."""
    with ForkServer() as server:
        assert server.lost is None
        server.start_worker({"WORKER_ID": "1"})
        deadline = time.monotonic() + PATIENCE_S
        while server.lost is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.lost == "a worker process ended with exit code 1"
        server.begin().wait(PATIENCE_S)
        server.start_worker({"WORKER_ID": "2"})  # its end was told already
        assert server.lost == "a worker process ended with exit code 1"


def test_a_server_that_was_not_needed_ends_with_its_launcher():
    with ForkServer() as server:
        process = server.begin()
    assert process.poll() is not None
    assert server.lost is None
