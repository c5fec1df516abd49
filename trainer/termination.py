"""SIGTERM as a flag that the training loop asks for."""

import signal
from collections.abc import Callable


def watch_sigterm() -> Callable[[], bool]:
    """Catch SIGTERM from now on; return a function that tells whether it has come."""
    received = []
    signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    return lambda: bool(received)
