"""A search in one process: this worker, and no chief."""

from collections.abc import Callable
from dataclasses import dataclass

from tuning.search.messages import Assignment, Leave, Order, Outcome, Worker
from tuning.search.state import Search

WORKER = Worker("local", "")


@dataclass(frozen=True)
class LocalSearch:
    """A `Search` as its only worker sees it."""

    search: Search
    after_trial: Callable[[], None]
    """Called when a trial has ended."""

    def __post_init__(self) -> None:
        """Take the trials of workers that had part in the search before."""
        self.search.take_over(WORKER)

    def ask(self) -> Assignment | Leave | None:
        """Ask for a trial; None: there is none now."""
        assignment = self.search.ask(WORKER)
        if self.search.fatal:
            return self.search.fatal
        return Leave() if assignment is None and self.search.over else assignment

    def report(self, trial_id: str, epoch: int | None, value: float | None) -> Order:
        """Tell what an epoch brought."""
        return self.search.report(WORKER, trial_id, epoch, value)

    def end(self, trial_id: str, outcome: Outcome) -> None:
        """Tell what came of a trial."""
        self.search.end(WORKER, trial_id, outcome)
        self.after_trial()

    def release(self, trial_id: str) -> None:
        """Give a trial back unfinished."""
        self.search.end(WORKER, trial_id, Outcome("released"))

    def leave(self) -> None:
        """Nobody waits for it."""
