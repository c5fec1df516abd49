"""keras-tuner's search algorithms, with a state that can be written to one file."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from sklearn.exceptions import ConvergenceWarning

from dem.errors import InputError
from tuning.config import TuneConfig
from tuning.space import Space, hyperparameters


class _InMemory(keras_tuner.Oracle):  # type: ignore[misc]
    """Writes no files, and can take back an assigned trial.

    keras-tuner overwrites its files in place, one per trial and one more. A kill in between leaves
    a corrupt file, or a trial that never ends.
    """

    def save(self) -> None:
        """Write nothing."""

    def _save_trial(self, trial: Trial) -> None:
        """Write nothing."""

    def score_trial(self, trial: Trial) -> None:
        """Score by the last value, which is that of the exported encoder."""
        last = trial.metrics.get_history(self.objective.name)[-1]
        trial.score, trial.best_step = last.mean(), last.step

    def take_back(self, tuner_id: str) -> str:
        """Put a worker's trial back into the queue; return its id."""
        trial = self.ongoing_trials.pop(tuner_id)
        self._retry_queue.append(trial.trial_id)
        return str(trial.trial_id)

    @property
    def has_open_trials(self) -> bool:
        """Whether a trial runs, or waits to be assigned again."""
        return bool(self.ongoing_trials or self._retry_queue)

    @property
    def has_started_all(self) -> bool:
        """Whether the maximum number of trials has been started."""
        return bool(self.max_trials and len(self.trials) >= self.max_trials)

    def dump(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        trials = {trial_id: trial.get_state() for trial_id, trial in self.trials.items()}
        return {"oracle": self.get_state(), "trials": trials}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state; running trials stay assigned to their workers."""
        self.trials = {
            trial_id: Trial.from_state(trial) for trial_id, trial in state["trials"].items()
        }
        self.set_state(state["oracle"])
        for tuner_id, trial in list(self.ongoing_trials.items()):
            if trial.status != TrialStatus.RUNNING:  # keras-tuner removes it after its end
                del self.ongoing_trials[tuner_id]


class RandomOracle(_InMemory, keras_tuner.oracles.RandomSearchOracle):  # type: ignore[misc]
    """Random search."""


class BayesianOracle(_InMemory, keras_tuner.oracles.BayesianOptimizationOracle):  # type: ignore[misc]
    """Bayesian optimisation: a Gaussian process and its upper confidence bound.

    keras-tuner may suggest values that were already tried; random ones replace them here.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Choose values that have not been tried."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # from few points
            chosen = dict(super().populate_space(trial_id))
        if chosen["status"] == TrialStatus.RUNNING and self._duplicate(chosen["values"]):
            return dict(self._random_populate_space())
        return chosen


class HyperbandOracle(_InMemory, keras_tuner.oracles.HyperbandOracle):  # type: ignore[misc]
    """Hyperband (arXiv 1603.06560): many short trials; the best ones continue."""


Oracle = RandomOracle | BayesianOracle | HyperbandOracle


def build_oracle(config: TuneConfig, space: Space) -> Oracle:
    """Build the algorithm.

    Raises:
        InputError: no key is searched, or hyperband has no maximum number of epochs.
    """
    if not space.searched:
        raise InputError("space: no key is searched; give one several choices, or low and high")
    common = {
        "objective": keras_tuner.Objective(config.objective, direction="max"),
        "hyperparameters": hyperparameters(space),
        "allow_new_entries": False,
        "tune_new_entries": False,
        "seed": config.seed + 1,  # keras-tuner reads 0 as no seed
        "max_consecutive_failed_trials": sys.maxsize,  # failed trials never end a search
    }
    if config.algorithm == "hyperband":
        oracle: Oracle = HyperbandOracle(
            max_epochs=_fixed_epochs(space), factor=config.halving_factor, **common
        )
        oracle.max_trials = config.most_trials
    elif config.algorithm == "bayesian":
        trials = config.most_trials or 0
        points = config.initial_points or max(trials // 3, 3)
        oracle = BayesianOracle(max_trials=trials, num_initial_points=points, **common)
    else:
        oracle = RandomOracle(max_trials=config.most_trials, **common)
    oracle.verbose = 0
    return oracle


def _fixed_epochs(space: Space) -> int:
    epochs = space.fixed.get("epochs")
    if not isinstance(epochs, int) or epochs < 1:
        raise InputError(
            "hyperband allocates the epochs itself; set the maximum per trial, for example "
            "--set space.epochs=27"
        )
    return epochs
