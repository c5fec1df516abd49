"""Settings of a search, typed and validated."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from trainer.config import Positive

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Objective = Literal["recall_at_1", "macro_f1"]

_TRIALS = 20


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class TuneConfig:
    """What to search and how; configs/tune.yaml explains each key."""

    algorithm: Literal["random", "bayesian", "hyperband"] = "bayesian"
    objective: Objective = "recall_at_1"
    trials: Positive | None = None  # None: 20; with hyperband, as many as its brackets need
    initial_points: Positive | None = None  # bayesian; None: a third of the trials
    halving_factor: Annotated[int, Field(ge=2)] = 3  # hyperband
    stop_early: bool = True  # random, bayesian; with recall_at_1
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    worker_deadline_s: Seconds = 120.0
    abandon_after_s: Seconds = 3600.0
    space: dict[str, Any] = field(default_factory=dict)

    @property
    def most_trials(self) -> int | None:
        """Maximum number of trials; None: the algorithm decides."""
        return self.trials or (None if self.algorithm == "hyperband" else _TRIALS)
