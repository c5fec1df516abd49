"""What chief and workers tell each other of trials."""

import dataclasses
from typing import Any, Literal

from dem.errors import InputError, JobError
from tuning.config import Objective

Order = Literal["go on", "stop", "drop"]
"""What a worker shall do with its trial; dropped, it is somebody else's, or the search is over."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """Who asks: an id that outlives the process, and what tells this process from others."""

    tuner_id: str
    instance: str


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A trial to run.

    Attributes:
        trial_id: also the name of its directory.
        settings: of the training.
        searched: those of them that the search has chosen.
        objective: what its value is.
        continues: id of the trial from whose checkpoint it goes on (hyperband).
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
        status: ``completed``; ``stopped``, as it could not win; ``failed``, as it diverged or was
            killed; ``released``, for others to go on with; or what ends the whole search:
            ``refused``, as settings or data do not fit, and ``broken``.
        value: the objective; None where there is none.
        epochs: how many it had.
        seconds: of training, over all restarts.
        reason: why it did not complete.
        worker: id of who ran it.
    """

    status: Literal["completed", "stopped", "failed", "released", "refused", "broken"]
    value: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""
    worker: str = ""

    @property
    def ends_the_search(self) -> bool:
        """Whether no other trial could do better."""
        return self.status in ("refused", "broken")


@dataclasses.dataclass(frozen=True)
class Leave:
    """There is no trial any more; `refused` or `broken`: why the search was stopped."""

    status: str = "completed"
    reason: str = ""

    def raise_if_stopped(self) -> None:
        """Raise an InputError or JobError where the search was stopped for it."""
        if self.status == "refused":
            raise InputError(self.reason)
        if self.status == "broken":
            raise JobError(self.reason)
