"""SIGTERM: the process ends at once, but while training has unsaved state, a flag is set."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator

from dem.errors import ExitCode
from dem.log import write_last_line

_LINE = "stopped: progress is saved; the same command resumes from there"


class _Signal:
    """Of this process, as signal handlers are."""

    received = False
    unsaved = 0  # depth of `unsaved_state`


def watch_sigterm() -> Callable[[], bool]:
    """Catch SIGTERM from now on; return a function that tells whether it has come.

    Outside of `unsaved_state` nobody needs to ask: the process ends, whatever it is doing. Files
    appear under their names complete or not at all, so nothing is lost.
    """
    _Signal.received = False
    signal.signal(signal.SIGTERM, _on_sigterm)
    return lambda: _Signal.received


def keep_watching() -> None:
    """Take SIGTERM back from TensorFlow, whose service for several workers catches it itself."""
    if signal.getsignal(signal.SIGTERM) is _on_sigterm:
        signal.signal(signal.SIGTERM, _on_sigterm)


@contextlib.contextmanager
def unsaved_state() -> Iterator[None]:
    """Leave it to the caller to ask for SIGTERM, save and stop; at the end all is saved."""
    _Signal.unsaved += 1
    try:
        yield
    finally:
        _Signal.unsaved -= 1
    _end_if_received()


def _on_sigterm(*_: object) -> None:
    _Signal.received = True
    _end_if_received()


def _end_if_received() -> None:
    if _Signal.received and not _Signal.unsaved:
        # No exception: raised by a signal it could end in a callback that drops it.
        write_last_line(_LINE, ExitCode.TERMINATED)
        os._exit(ExitCode.TERMINATED)
