"""What a bucket may do to its clients: refuse, fail for a while, hang up."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

RESET: Literal["reset"] = "reset"  # the connection ends before there is an answer
CUT: Literal["cut"] = "cut"  # the connection ends in the middle of the answer


@dataclass
class Fault:
    """Answers some requests instead of the emulator, or spoils its answers."""

    path: str  # a regular expression, searched for in the path and query
    action: int | Literal["reset", "cut"]  # an int is an HTTP status
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    times: int | None = None  # None: for ever
    after: int = 0  # so many such requests get through before
    hits: int = 0  # requests that it has spoilt

    def take(self, method: str, path: str) -> bool:
        """Whether this request is to be spoilt; counts it."""
        if method not in self.methods or not re.search(self.path, path):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


@dataclass
class Faults:
    """The faults in force."""

    _active: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def inject(self, *faults: Fault) -> Iterator[None]:
        """Put faults in force while the body runs."""
        with self._lock:
            self._active += faults
        try:
            yield
        finally:
            with self._lock:
                self._active = [fault for fault in self._active if fault not in faults]

    def find(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, if any."""
        with self._lock:
            return next((fault for fault in self._active if fault.take(method, path)), None)
