"""Who works on which trial: the state of a search, kept in one file.

A trial belongs to the worker that it was given to, as long as this one is heard from. A worker is
an id, which a process that takes its place has too, and an instance, which is of the process.
"""

import contextlib
import dataclasses
import json
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from dem import storage
from dem.errors import JobError
from tuning.config import TuneConfig
from tuning.search.messages import Assignment, Leave, Order, Outcome, Worker
from tuning.search.oracle import Oracle
from tuning.search.stopping import cannot_win
from tuning.space import Space

SEARCH = "search.json"

_MOST_LOSSES = 3  # workers that may vanish in a trial before it is held to be its fault


class Search:
    """Gives out trials and takes what came of them; safe to be asked by several threads."""

    def __init__(
        self,
        config: TuneConfig,
        space: Space,
        oracle: Oracle,
        job_dir: str,
        fixed: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fixed`: settings that every trial has beside those of the space."""
        self._config, self._space, self._oracle, self._clock = config, space, oracle, clock
        self._fixed = dict(fixed)
        self._uri = storage.join(job_dir, SEARCH)
        self._lock = threading.RLock()
        self._instances: dict[str, str] = {}  # of the workers, by id
        self._seen: dict[str, float] = {}
        self._losses: Counter[str] = Counter()
        self._curves: dict[str, dict[int, float]] = {}
        self._epochs: dict[str, int] = {}  # the latest that a trial was heard to have ended
        self._exhausted = False
        self._outcomes: dict[str, Outcome] = {}
        self.fatal: Leave | None = None  # what stopped the search
        self._last_contact = clock()
        if storage.exists(self._uri):
            self._restore(json.loads(storage.read_text(self._uri)))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """How trials have ended, by id, in that order."""
        with self._lock:
            return dict(self._outcomes)

    @property
    def over(self) -> bool:
        """Whether no trial runs, and none will."""
        with self._lock:
            no_more = self._exhausted or self._oracle.has_started_all
            return no_more and not self._oracle.has_open_trials

    @property
    def live_workers(self) -> list[str]:
        """Ids of workers that were heard from within the deadline and have not left."""
        with self._lock:
            oldest = self._clock() - self._config.worker_deadline_s
            return sorted(tuner_id for tuner_id, seen in self._seen.items() if seen > oldest)

    @property
    def silent_s(self) -> float:
        """Seconds since any worker was heard from."""
        with self._lock:
            return self._clock() - self._last_contact

    def trials(self) -> dict[str, dict[str, Any]]:
        """What was chosen for each trial, by id, in the order of their start."""
        with self._lock:
            started = sorted(self._oracle.trials, key=int)
            return {trial_id: self.assignment(trial_id).searched for trial_id in started}

    def assignment(self, trial_id: str) -> Assignment:
        """What a worker is told of a trial."""
        values = self._oracle.trials[trial_id].hyperparameters.values
        settings = {**self._space.settings(values), **self._fixed}
        searched = {key: settings[key] for key in self._space.searched if key in values}
        if "tuner/epochs" in values:  # hyperband's share
            settings["epochs"] = searched["epochs"] = values["tuner/epochs"]
        objective, before = self._config.objective, values.get("tuner/trial_id")
        return Assignment(trial_id, settings, searched, objective, before)

    def ask(self, worker: Worker) -> Assignment | None:
        """Give out a trial, or the one that this worker has; None: there is none now."""
        with self._lock, self._stopping_at_errors():
            self._replace(worker)
            if self.fatal:
                return None
            trial = self._oracle.create_trial(worker.tuner_id)
            if trial.status == TrialStatus.RUNNING:
                self._save()
                return self.assignment(trial.trial_id)
            self._exhausted = self._exhausted or trial.status == TrialStatus.STOPPED
        return None

    def report(
        self, worker: Worker, trial_id: str, epoch: int | None = None, value: float | None = None
    ) -> Order:
        """Hear that a worker is at work, and what an epoch of its trial brought."""
        with self._lock:
            self._see(worker)
            if self.fatal or not self._owns(worker, trial_id):
                return "drop"
            if epoch is not None and epoch > self._epochs.get(trial_id, 0):
                self._epochs[trial_id] = epoch
                self._losses.pop(trial_id, None)  # who gets on is not what kills workers
            if epoch is None or value is None or not self._may_stop_early:
                return "go on"
            curve = self._curves.setdefault(trial_id, {})
            curve[epoch] = value
            finished = [
                self._curves[other]
                for other, outcome in self._outcomes.items()
                if outcome.status == "completed" and other in self._curves
            ]
            return "stop" if cannot_win(curve, finished) else "go on"

    def end(self, worker: Worker, trial_id: str, outcome: Outcome) -> Order:
        """Take what came of a trial."""
        with self._lock, self._stopping_at_errors():
            self._see(worker)
            if self.fatal or not self._owns(worker, trial_id):
                return "drop"
            if outcome.ends_the_search:
                self.fatal = Leave(outcome.status, outcome.reason)
            if outcome.status == "released" or outcome.ends_the_search:
                self._oracle.take_back(worker.tuner_id)
            else:
                self._close(trial_id, outcome)
            self._save()
        return "go on"

    def leave(self, worker: Worker) -> None:
        """Hear that a worker will not ask again."""
        with self._lock:
            if self._instances.get(worker.tuner_id) == worker.instance:
                self._seen.pop(worker.tuner_id, None)

    def take_over(self, worker: Worker) -> None:
        """Take the trials of all others, who are known to be gone."""
        with self._lock:
            for tuner_id in list(self._oracle.ongoing_trials):
                if tuner_id != worker.tuner_id:
                    self._oracle.take_back(tuner_id)

    def reap(self) -> dict[str, str]:
        """Take the trials of workers that are not heard from; return these ids, by worker's."""
        lost: dict[str, str] = {}
        with self._lock, self._stopping_at_errors():
            oldest = self._clock() - self._config.worker_deadline_s
            for tuner_id in list(self._oracle.ongoing_trials):
                if self._seen.setdefault(tuner_id, self._clock()) <= oldest:
                    lost[tuner_id] = self._lose(tuner_id)
            if lost:
                self._save()
        return lost

    def _lose(self, tuner_id: str) -> str:
        trial_id = str(self._oracle.ongoing_trials[tuner_id].trial_id)
        self._instances.pop(tuner_id, None)
        del self._seen[tuner_id]
        if not self._count_loss(tuner_id, trial_id):
            self._oracle.take_back(tuner_id)
        return trial_id

    def _replace(self, worker: Worker) -> None:
        """Let a process take the place of another of its id, and its trial."""
        before = self._instances.get(worker.tuner_id, worker.instance)
        self._instances[worker.tuner_id] = worker.instance
        self._see(worker)
        trial = self._oracle.ongoing_trials.get(worker.tuner_id)
        if trial and before != worker.instance:
            self._count_loss(worker.tuner_id, trial.trial_id)

    def _count_loss(self, tuner_id: str, trial_id: str) -> bool:
        """Count a process that is gone; return whether there were so many that the trial failed."""
        self._losses[trial_id] += 1
        if self._losses[trial_id] < _MOST_LOSSES:
            return False
        reason = f"{_MOST_LOSSES} workers vanished while they ran it, without an epoch more"
        self._close(trial_id, Outcome("failed", reason=reason, worker=tuner_id))
        return True

    @contextlib.contextmanager
    def _stopping_at_errors(self) -> Iterator[None]:
        """Stop the search at an error of ours, of keras-tuner's or of the storage.

        keras-tuner does not release its lock then, so nobody may ask it again.
        """
        try:
            yield
        except JobError as error:
            self.fatal = Leave("broken", str(error))
        except Exception as error:
            traceback.print_exc()
            reason = f"{type(error).__name__}: {error} (its traceback is in the chief's log)"
            self.fatal = Leave("broken", reason)

    def _close(self, trial_id: str, outcome: Outcome) -> None:
        """Enter a trial's outcome, for good."""
        trial = self._oracle.trials[trial_id]
        trial.status = TrialStatus.FAILED
        if outcome.value is not None and outcome.status != "failed":
            self._oracle.update_trial(
                trial_id, {self._config.objective: outcome.value}, step=outcome.epochs
            )
            trial.status = TrialStatus.COMPLETED
        trial.message = outcome.reason
        self._oracle.end_trial(trial)
        self._outcomes[trial_id] = outcome

    @property
    def _may_stop_early(self) -> bool:
        config = self._config
        return (
            config.stop_early
            and config.objective == "recall_at_1"
            and config.algorithm != "hyperband"  # which has its own way to
        )

    def _see(self, worker: Worker) -> None:
        """Note that a worker lives; who takes another's place is heard by asking for a trial."""
        if self._instances.setdefault(worker.tuner_id, worker.instance) == worker.instance:
            self._seen[worker.tuner_id] = self._last_contact = self._clock()

    def _owns(self, worker: Worker, trial_id: str) -> bool:
        trial = self._oracle.ongoing_trials.get(worker.tuner_id)
        return (
            trial is not None
            and trial.trial_id == trial_id
            and self._instances[worker.tuner_id] == worker.instance
        )

    def _save(self) -> None:
        state = {
            **self._oracle.dump(),
            "outcomes": {key: dataclasses.asdict(one) for key, one in self._outcomes.items()},
            "losses": dict(self._losses),
            "curves": self._curves,
        }
        storage.write_text(self._uri, json.dumps(state) + "\n")

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._oracle.restore(state)
        self._outcomes = {key: Outcome(**one) for key, one in state["outcomes"].items()}
        self._losses = Counter(state["losses"])
        self._curves = {
            trial_id: {int(epoch): value for epoch, value in curve.items()}
            for trial_id, curve in state["curves"].items()
        }
