"""What this process reads at the moment, told to whoever has to say what a lost worker read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_listeners: list[Callable[[str], None]] = []


@contextmanager
def noted_to(listener: Callable[[str], None]) -> Iterator[None]:
    """Pass what is read in the body on to `listener`; an empty text: nothing."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def note(what: str) -> None:
    """Say what is read from now on."""
    for listener in _listeners:
        listener(what)
