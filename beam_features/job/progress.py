"""Progress lines of a run, from the summaries of its finished shards.

The summaries are in the output directory, so this works with every runner.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from beam_features.job.background import in_background
from beam_features.job.finished import FinishedShard, read_finished
from dem import storage

_FIRST_INTERVAL_S = 10.0
_LATER_INTERVAL = 0.05  # of the time that has passed: a line for every 5 %


@dataclass
class Progress:
    """The shards that this run has finished, and their totals."""

    wanted: frozenset[str]  # URIs of the summaries that this run will write
    begin: float = field(default_factory=time.monotonic)
    finished: dict[str, FinishedShard] = field(default_factory=dict)  # by URI of the summary
    seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    _seen: set[str] = field(default_factory=set)

    def update(self, directory: str) -> bool:
        """Read the new summaries in `directory`; return whether there were any."""
        names = storage.list_names(directory, ".json")
        new = (self.wanted & {storage.join(directory, name) for name in names}) - self._seen
        for uri, finished in read_finished(sorted(new)):
            summary = finished.summary
            self.finished[uri] = finished
            self.seconds += summary.seconds
            self.bytes_read += summary.bytes_read
            self.bytes_written += summary.bytes_written
        self._seen |= new
        return bool(new)

    def line(self) -> str:
        """Format the totals as one line."""
        elapsed_s = time.monotonic() - self.begin
        return (
            f"{len(self.finished)} of {len(self.wanted)} shards, "
            f"{self.seconds / 3600:.2f} h of audio in "
            f"{elapsed_s:.0f} s ({self.seconds / elapsed_s:.0f} times real time), "
            f"{self.bytes_read / 1e6:.1f} MB read, {self.bytes_written / 1e6:.1f} MB written"
        )


@contextmanager
def reported(progress: Progress, directory: str, say: Callable[[str], None]) -> Iterator[None]:
    """Call `say` with the progress at intervals while the body runs, and once at its end."""

    def watch(done: threading.Event) -> None:
        interval_s = _FIRST_INTERVAL_S
        while not done.wait(interval_s):
            if progress.update(directory):
                say(progress.line())
            passed_s = time.monotonic() - progress.begin
            interval_s = max(_FIRST_INTERVAL_S, _LATER_INTERVAL * passed_s)

    with in_background(watch):
        yield
    progress.update(directory)
    say(progress.line())
