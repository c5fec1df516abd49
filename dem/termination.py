"""SIGTERM: the process ends at once, but while there is unsaved state, only a flag is set."""

import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import ClassVar

from dem.errors import ExitCode
from dem.log import write_last_line

_LINE = "stopped: what is finished is saved; the same command resumes from there"
_IMPATIENT = "stopped at once: what was being saved is lost; the same command resumes from before"
_SAME_PRESS_S = 1.0  # a shell and a program between it and us may both pass on one Ctrl-C


class _Signal:
    """Of this process, as signal handlers are."""

    received = False
    unsaved = 0  # depth of `unsaved_state`
    ctrl_c_at = math.inf  # when the first came, in monotonic seconds
    before_exit: ClassVar[list[Callable[[], object]]] = []


def watch_sigterm(*, ctrl_c: bool = False) -> Callable[[], bool]:
    """Handle SIGTERM from now on; return `sigterm_received`.

    Outside of `unsaved_state` the process ends at once, whatever it is doing. Files appear under
    their names complete or not at all, so nothing is lost. Without a handler, process 1 of a
    container would ignore the signal.

    Args:
        ctrl_c: whether to handle Ctrl-C in the same way; a second one ends the process at once.
    """
    _Signal.received, _Signal.ctrl_c_at = False, math.inf
    signal.signal(signal.SIGTERM, _on_signal)
    if ctrl_c:
        signal.signal(signal.SIGINT, _on_signal)
    return sigterm_received


def sigterm_received() -> bool:
    """Whether SIGTERM has come since `watch_sigterm`."""
    return _Signal.received


def keep_watching() -> None:
    """Take SIGTERM back from TensorFlow, whose multi-worker service catches it in C++."""
    if signal.getsignal(signal.SIGTERM) is _on_signal:
        signal.signal(signal.SIGTERM, _on_signal)


@contextlib.contextmanager
def unsaved_state() -> Iterator[None]:
    """Leave it to the body to ask for SIGTERM, save and stop; at its end all is saved."""
    _Signal.unsaved += 1
    try:
        yield
    finally:
        _Signal.unsaved -= 1
    _end_if_received()


@contextlib.contextmanager
def before_exit(clean_up: Callable[[], object]) -> Iterator[None]:
    """Call `clean_up` where a signal ends the process in the body; it must not block for long."""
    _Signal.before_exit.append(clean_up)
    try:
        yield
    finally:
        _Signal.before_exit.remove(clean_up)


def _on_signal(number: int, _frame: object) -> None:
    _Signal.received = True
    _end_if_received()
    if number == signal.SIGINT:
        now = time.monotonic()
        if now > _Signal.ctrl_c_at + _SAME_PRESS_S:
            _end(_IMPATIENT)
        _Signal.ctrl_c_at = min(now, _Signal.ctrl_c_at)


def _end_if_received() -> None:
    if _Signal.received and not _Signal.unsaved:
        _end(_LINE)


def _end(line: str) -> None:
    # No exception: a callback may drop it, and Beam's shutdown would wait for its workers.
    for clean_up in _Signal.before_exit:
        clean_up()
    write_last_line(line, ExitCode.TERMINATED)
    os._exit(ExitCode.TERMINATED)
