"""SIGTERM: the process ends at once, but while there is unsaved state, only a flag is set."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from dem.errors import ExitCode
from dem.log import write_last_line

_LINE = "stopped: what is finished is saved; the same command resumes from there"


class _Signal:
    """Of this process, as signal handlers are."""

    received = False
    unsaved = 0  # depth of `unsaved_state`


def watch_sigterm(*, ctrl_c: bool = False) -> Callable[[], bool]:
    """Handle SIGTERM from now on; return `sigterm_received`.

    Outside of `unsaved_state` the process ends at once, whatever it is doing. Files appear under
    their names complete or not at all, so nothing is lost. Without a handler, process 1 of a
    container would ignore the signal.

    Args:
        ctrl_c: whether to handle Ctrl-C in the same way.
    """
    _Signal.received = False
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


def _on_signal(*_: object) -> None:
    _Signal.received = True
    _end_if_received()


def _end_if_received() -> None:
    if _Signal.received and not _Signal.unsaved:
        # No exception: a callback may drop it, and Beam's shutdown would wait for its workers.
        write_last_line(_LINE, ExitCode.TERMINATED)
        os._exit(ExitCode.TERMINATED)
