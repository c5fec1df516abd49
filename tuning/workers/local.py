"""A search in one process, without a chief."""

from collections.abc import Callable
from dataclasses import dataclass

from tuning.search.messages import Assignment, Leave, Order, Outcome, Worker
from tuning.search.state import Search

WORKER = Worker("local", "")


@dataclass(frozen=True)
class LocalSearch:
    """The `Source` of the only worker: the search itself."""

    search: Search
    after_trial: Callable[[], None]
    """Called after the end of each trial."""

    def __post_init__(self) -> None:
        """Take over trials of workers from an earlier run."""
        self.search.take_over(WORKER)

    def ask(self) -> Assignment | Leave | None:
        """Ask for a trial; None: there is none now."""
        assignment = self.search.ask(WORKER)
        if self.search.fatal:
            return self.search.fatal
        return Leave() if assignment is None and self.search.over else assignment

    def report(self, trial_id: str, epoch: int | None, value: float | None) -> Order:
        """Report a heartbeat, and the objective after an epoch."""
        return self.search.report(WORKER, trial_id, epoch, value)

    def end(self, trial_id: str, outcome: Outcome) -> None:
        """Report the outcome of a trial."""
        self.search.end(WORKER, trial_id, outcome)
        self.after_trial()

    def release(self, trial_id: str) -> None:
        """Give a trial back unfinished."""
        self.search.end(WORKER, trial_id, Outcome("released"))

    def leave(self) -> None:
        """Do nothing: there is no chief that waits."""
