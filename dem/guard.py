"""A process that guards another: it handles signals and keeps deadlines while the other is blocked.

Python handles signals only between its own instructions. A process that waits for other hosts in
C++ does not; while TensorFlow's multi-worker service starts, not even its threads run, and SIGTERM
is caught in C++. The guard is a process without libraries: it passes signals on, and ends the other
process if that does not end itself.
"""

import contextlib
import ctypes
import math
import mmap
import os
import signal
import sys
import time
from collections.abc import Iterator
from enum import IntEnum
from typing import ClassVar

from dem.errors import LostPeerError, Terminated

_LONGEST_S = 10.0  # from a signal to the end: 20 s are promised
_LONGEST_JOIN_S = 120.0  # hosts have met before, so this is longer than eight GPUs take to start
_LOOK_EVERY_S = 0.1
_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # of Linux


class Phase(IntEnum):
    """What a guarded process is doing."""

    WORKS = 0
    JOINS = 1  # it starts to communicate with others; nothing is lost if it ends
    SAVES = 2  # it waits for no other process, and must not be disturbed


class _Shared:
    """Of this process: where its guard reads the phase."""

    memory: ClassVar[mmap.mmap | None] = None


@contextlib.contextmanager
def phase(now: Phase) -> Iterator[None]:
    """Tell the guard, if there is one, what the body does."""
    memory = _Shared.memory
    if memory is None:
        yield
        return
    before, memory[0] = memory[0], now
    try:
        yield
    finally:
        memory[0] = before


def go_on_in_child(longest_s: float = _LONGEST_S, longest_join_s: float = _LONGEST_JOIN_S) -> None:
    """Return in a child process; this one becomes its guard, and ends as the child does.

    Call it before there are threads. On Linux the child ends with its guard, even a killed one.

    Args:
        longest_s: from a signal until the child is killed; at once in phase JOINS, and not before
            the end of phase SAVES.
        longest_join_s: in phase JOINS until the child is killed.

    Raises:
        LostPeerError: in the guard, after `longest_join_s`.
        Terminated: in the guard, after `longest_s`.
    """
    memory, guard = mmap.mmap(-1, 1), os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until it is clear who handles them
    child = os.fork()
    if child == 0:
        _Shared.memory = memory
        _end_with(guard)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return
    ward = _Ward(child, memory)
    for number in _SIGNALS:
        signal.signal(number, ward.pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    sys.exit(ward.watch(longest_s, longest_join_s))


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended before
            os._exit(1)


class _Ward:
    """A child process as its guard sees it."""

    def __init__(self, pid: int, memory: mmap.mmap) -> None:
        self._pid, self._memory = pid, memory
        self._begin = math.inf  # of the time to end, in monotonic seconds

    def pass_on(self, number: int, _frame: object) -> None:
        """Handle a signal."""
        self._begin = min(self._begin, time.monotonic())
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def watch(self, longest_s: float, longest_join_s: float) -> int:
        """Wait for its end; return its exit code, as shells do for one that was killed.

        Raises:
            LostPeerError, Terminated: see `go_on_in_child`.
        """
        joins_since = math.inf
        while (code := self._exit_code(os.WNOHANG)) is None:
            now, doing = time.monotonic(), self._memory[0]
            joins_since = min(joins_since, now) if doing == Phase.JOINS else math.inf
            if doing == Phase.SAVES and self._begin < now:
                self._begin = now
            if now > self._begin + (0 if doing == Phase.JOINS else longest_s):
                self._kill()
                raise Terminated("it waited for other hosts; the last checkpoint is kept")
            if now > joins_since + longest_join_s:
                self._kill()
                raise LostPeerError(
                    f"another host did not start within {longest_join_s:.0f} s, though it was "
                    "there; start the same command on all of them again"
                )
            time.sleep(_LOOK_EVERY_S)
        return code

    def _kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._exit_code(0)

    def _exit_code(self, options: int) -> int | None:
        pid, status = os.waitpid(self._pid, options)
        if not pid:
            return None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code
