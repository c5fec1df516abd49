"""The results of a search: a row per trial, the best settings, a figure, a summary."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import tensorflow as tf
import yaml
from tensorboard.plugins.hparams import api as hparams

from dem import storage
from dem.errors import JobError
from dem.settings import as_yaml_values, build_settings
from trainer.config import TrainConfig
from trainer.data.features import Features
from trainer.runtime.job_dir import METRICS
from trainer.runtime.tensorflow_files import writing
from trainer.train.resolve import resolve_config
from tuning.config import TuneConfig
from tuning.job_dir import TRIALS
from tuning.search.messages import Outcome
from tuning.search.state import Search
from tuning.space import Choices, Space, as_cell

TABLE = "trials.csv"
BEST = "best_config.yaml"
FIGURE = "trials.png"

_FIRST_COLUMNS = ("trial", "status")
_LAST_COLUMNS = {  # and the fields of `Outcome` in them
    "epochs_run": "epochs",
    "seconds": "seconds",
    "worker": "worker",
    "reason": "reason",
}
_SHOWN = 10  # trials in the summary


class Results:
    """Writes the files of a search into its job directory."""

    def __init__(
        self, job_dir: str, config: TuneConfig, space: Space, search: Search, features: Features
    ) -> None:
        self._job_dir, self._config, self._space = job_dir, config, space
        self._search, self._features = search, features

    def write(self) -> None:
        """Write the table, and the best settings so far."""
        trials = self.table()
        self._write(TABLE, trials.to_csv(index=False))
        best = self.best()
        if best:
            settings = self._search.assignment(best).settings
            resolved = resolve_config(build_settings(TrainConfig, settings), self._features)
            value = self._search.outcomes[best].value
            head = f"# Trial {best} of a search: {self._config.objective} {value:.4f}\n"
            values = as_yaml_values(dataclasses.asdict(resolved))
            self._write(BEST, head + yaml.safe_dump(values, sort_keys=False))

    def finish(self) -> None:
        """Write everything; the metrics come last and mark the search as done.

        Raises:
            JobError: no trial completed.
        """
        self.write()
        best, trials = self.best(), self.table()
        if best is None:
            reason = next(reversed(self._search.outcomes.values())).reason
            raise JobError(
                f"none of {len(trials)} trials completed; the last one: {reason}; "
                "narrow the space to settings that train"
            )
        from tuning.results.plot import trials_png  # slow to import

        figure = trials_png(trials, self._config.objective, [*self._space.searched.items()], best)
        storage.write_bytes(storage.join(self._job_dir, FIGURE), figure)
        counts = trials["status"].value_counts()
        metrics = {
            "objective": self._config.objective,
            "best_trial": best,
            "best_value": self._search.outcomes[best].value,
            "trials": len(trials),
            **{status: int(counts.get(status, 0)) for status in ("completed", "stopped", "failed")},
        }
        self._write(METRICS, json.dumps(metrics, indent=2) + "\n")

    def best(self) -> str | None:
        """Return the id of the completed trial with the highest value, the first of equal ones."""
        values = {
            trial_id: outcome.value
            for trial_id, outcome in self._search.outcomes.items()
            if outcome.status == "completed" and outcome.value is not None
        }
        return max(values, key=lambda trial_id: values[trial_id], default=None)

    def table(self) -> pd.DataFrame:
        """Return a row per trial, in the order of their start."""
        outcomes = self._search.outcomes
        rows = [
            self._row(trial_id, chosen, outcomes.get(trial_id))
            for trial_id, chosen in self._search.trials().items()
        ]
        trials = pd.DataFrame(rows, dtype=object)  # keeps integers in columns with empty cells
        return trials.astype({self._config.objective: float})

    def summary(self) -> str:
        """Return the best trials as a table, and the paths of the other results."""
        trials, objective = self.table(), self._config.objective
        keys = [key for key in self._space.searched if trials[key].nunique() > 1]
        columns = [*_FIRST_COLUMNS, objective, *keys]
        ranked = trials.sort_values(objective, ascending=False, kind="stable", na_position="last")
        shown = ranked[columns].head(_SHOWN).astype(object)
        shown = shown.where(shown.notna(), "")  # to_string ignores na_rep for None
        text = shown.to_string(index=False, float_format="{:.4g}".format)
        more = f"\n… and {len(ranked) - _SHOWN} more" if len(ranked) > _SHOWN else ""
        return (
            f"{text}{more}\n\nall trials: {storage.join(self._job_dir, TABLE)}, "
            f"{storage.join(self._job_dir, FIGURE)}\nsettings of trial {self.best()}: "
            f"{storage.join(self._job_dir, BEST)}, for python -m trainer.train --config"
        )

    def log_space(self) -> None:
        """Write the searched domains for TensorBoard's HParams plugin."""
        directory = storage.join(self._job_dir, TRIALS)
        searched = [
            hparams.HParam(key, _domain(domain)) for key, domain in self._space.searched.items()
        ]
        with writing(directory), tf.summary.create_file_writer(directory).as_default():
            hparams.hparams_config(searched, [hparams.Metric(self._config.objective)])

    def _row(
        self, trial_id: str, chosen: Mapping[str, Any], outcome: Outcome | None
    ) -> dict[str, Any]:
        ended = dataclasses.asdict(outcome) if outcome else {}
        row: dict[str, Any] = {"trial": trial_id, "status": ended.get("status", "running")}
        row[self._config.objective] = ended.get("value")
        row |= dict.fromkeys(self._space.searched)  # empty where a key has no effect
        row |= {key: as_cell(value) for key, value in chosen.items()}
        return row | {column: ended.get(field) for column, field in _LAST_COLUMNS.items()}

    def _write(self, name: str, text: str) -> None:
        storage.write_text(storage.join(self._job_dir, name), text)


def _domain(domain: Any) -> Any:
    if isinstance(domain, Choices):
        return None  # the HParams plugin shows the values that occur
    if domain.is_integer:
        return hparams.IntInterval(domain.low, domain.high)
    return hparams.RealInterval(float(domain.low), float(domain.high))
