"""Threads that watch while something else is done."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_background(watch: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run `watch` in a thread while the body runs; it ends when its event is set."""
    done = threading.Event()
    watcher = threading.Thread(target=watch, args=(done,), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
