"""Messages about trials between chief and workers."""

import dataclasses
from typing import Any, Literal

from dem.errors import InputError, JobError
from tuning.config import Objective

Order = Literal["continue", "stop", "drop"]
"""What a worker does with its trial; `drop`: another worker has it, or the search is over."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """The sender: an id that a replacement process shares, and an instance that is unique."""

    tuner_id: str
    instance: str


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A trial to run.

    Attributes:
        trial_id: also the name of its directory.
        settings: of the training.
        searched: those settings that the search has chosen.
        objective: the metric to return.
        continues: id of the trial from whose checkpoint this one starts (hyperband).
    """

    trial_id: str
    settings: dict[str, Any]
    searched: dict[str, Any]
    objective: Objective
    continues: str | None = None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        status: ``completed``; ``stopped`` early; ``failed``: it diverged or was killed;
            ``released``: unfinished, for another worker to resume; or what ends the whole search:
            ``refused``: settings or data do not fit, and ``broken``: an error in the program.
        value: the objective, or None.
        epochs: how many were completed.
        seconds: of training, over all restarts.
        reason: why it did not complete.
        worker: id of the worker that ran it.
    """

    status: Literal["completed", "stopped", "failed", "released", "refused", "broken"]
    value: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""
    worker: str = ""

    @property
    def ends_the_search(self) -> bool:
        """Whether every other trial would end in the same way."""
        return self.status in ("refused", "broken")


@dataclasses.dataclass(frozen=True)
class Leave:
    """There are no more trials; status `refused` or `broken`: why the search was stopped."""

    status: str = "completed"
    reason: str = ""

    def raise_if_stopped(self) -> None:
        """Raise an InputError or JobError if the search was stopped by one."""
        if self.status == "refused":
            raise InputError(self.reason)
        if self.status == "broken":
            raise JobError(self.reason)
