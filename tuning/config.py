"""Settings of a search. The docstring below a key is its documentation."""

from dataclasses import field
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from trainer.config import SETTINGS, Positive, PositiveNumber

Objective = Literal["recall_at_1", "macro_f1"]

_TRIALS = 20


@dataclass(frozen=True, config=SETTINGS)
class TuneConfig:
    """What to search and how."""

    algorithm: Literal["random", "bayesian", "hyperband"] = "bayesian"
    """`bayesian`: a Gaussian process after the first random points; `hyperband`: many short trials,
    of which the best continue."""
    objective: Objective = "recall_at_1"
    """On the validation partitions: recall_at_1 needs no labels; macro_f1 is that of a logistic
    regression on the frozen encoder."""
    trials: Positive | None = None
    """Null: 20; with `hyperband`, as many as its brackets need."""
    initial_points: Positive | None = None
    """Random trials before the first Bayesian one; null: a third of all."""
    halving_factor: Annotated[int, Field(ge=2)] = 3
    """Of `hyperband`: one in so many trials continues, for so many times as long."""
    stop_early: bool = True
    """With `random` or `bayesian`, and recall_at_1: stop a trial whose best value is below the
    median of what the finished trials had after as many epochs."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the values that are tried; space.seed is that of the trainings."""
    worker_deadline_s: PositiveNumber = 120.0
    """A worker without a heartbeat for so many seconds loses its trial to another. Choose at least
    60: saving the state of a trial may take that long."""
    abandon_after_s: PositiveNumber = 3600.0
    """For so many seconds a chief waits for any worker, and a worker for its chief."""
    space: dict[str, Any] = field(default_factory=dict)
    """Domain or fixed value of keys of the training's settings: `{low: 0.05, high: 1.0, scale:
    log}`, `{choices: [conv1d, conv2d]}` or a value; other keys: tuning/space.yaml."""

    @property
    def most_trials(self) -> int | None:
        """Maximum number of trials; None: the algorithm decides."""
        return self.trials or (None if self.algorithm == "hyperband" else _TRIALS)
