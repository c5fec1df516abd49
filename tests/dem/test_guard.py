"""A process and its guard, as a guard of a training on several hosts has one."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from dem.guard import Phase, phase
from tests.dem.guarded import JOIN_S, SAVE_S
from tests.processes import start


class Guarded:
    """A guard, whose child has begun its work."""

    def __init__(self, how: str, longest_s: float = 0.5) -> None:
        self.guard = start("tests.dem.guarded", longest_s, how)
        assert self.guard.stdout
        self.child = int(self.guard.stdout.readline())
        self._begin = time.monotonic()

    def end(self) -> tuple[int, float, str, str]:
        """Exit code, seconds since the work has begun, and what was said."""
        try:
            stdout, stderr = self.guard.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            self.guard.kill()
            raise
        return self.guard.returncode, time.monotonic() - self._begin, stdout, stderr


def test_a_guard_ends_as_its_child_does() -> None:
    assert Guarded("end").end()[0] == 7
    killed = Guarded("hear")
    os.kill(killed.child, signal.SIGKILL)
    assert killed.end()[0] == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    guarded = Guarded("hear", longest_s=30)
    guarded.guard.send_signal(number)
    code, took_s, _, said = guarded.end()
    assert code == 143
    assert took_s < 5
    assert said.startswith("stopped: what is finished is saved")


@pytest.mark.parametrize(("how", "at_least_s"), [("deaf", 0.5), ("join", 0.0)])
def test_a_child_that_does_not_react_is_killed(how: str, at_least_s: float) -> None:
    guarded = Guarded(how)
    guarded.guard.send_signal(signal.SIGTERM)
    code, took_s, _, said = guarded.end()
    assert code == 143
    assert at_least_s - 0.1 < took_s < 10
    assert said == "stopped: it waited for other hosts; the last checkpoint is kept\n"
    with pytest.raises(ProcessLookupError):
        os.kill(guarded.child, 0)


def test_one_that_saves_is_left_alone() -> None:
    guarded = Guarded("save")
    guarded.guard.send_signal(signal.SIGTERM)
    code, took_s, printed, _ = guarded.end()
    assert (code, printed) == (143, "saved\n")
    assert took_s > SAVE_S + 0.4


def test_one_that_joins_others_has_a_deadline() -> None:
    code, took_s, _, said = Guarded("join").end()
    assert code == 3
    assert JOIN_S - 0.2 < took_s < JOIN_S + 3
    assert said.startswith("error: another host did not start within 2 s, though it was there; ")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of the end")
def test_a_child_ends_with_a_guard_that_is_killed() -> None:
    guarded = Guarded("deaf")
    guarded.guard.kill()
    guarded.guard.wait()
    deadline = time.monotonic() + 5
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(guarded.child, 0)
            time.sleep(0.01)
        raise AssertionError("the child goes on")
    guarded.end()


def test_without_a_guard_a_phase_is_nothing() -> None:
    with phase(Phase.SAVES):
        pass
