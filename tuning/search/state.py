"""The state of a search, in one file: which worker runs which trial, and how trials ended.

A trial is assigned to one worker until it ends or the worker misses its heartbeat deadline.
"""

import contextlib
import dataclasses
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from dem import storage
from dem.errors import JobError
from tuning.config import TuneConfig
from tuning.search.heartbeats import Heartbeats
from tuning.search.messages import Assignment, Leave, Order, Outcome, Worker
from tuning.search.oracle import Oracle
from tuning.search.stopping import cannot_win
from tuning.space import Space

_LOG = logging.getLogger(__name__)

SEARCH = "search.json"

_PATIENCE_S = 1.0  # for another thread's write; a worker asks again
_MOST_LOSSES = 3  # of workers in one trial, before the trial is assumed to be the cause


class Search:
    """Assigns trials to workers and records their outcomes; safe for several threads."""

    def __init__(
        self,
        config: TuneConfig,
        space: Space,
        oracle: Oracle,
        job_dir: str,
        fixed: Mapping[str, Any],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`fixed`: settings of every trial, in addition to those of the space."""
        self._config, self._space, self._oracle = config, space, oracle
        self._fixed = dict(fixed)
        self.uri = storage.join(job_dir, SEARCH)
        self._lock = threading.RLock()  # of the state; never held while the storage is waited for
        self._writing = threading.Lock()
        self._version = self._written = 0  # of the state, and of the file
        self._heartbeats = Heartbeats(config.worker_deadline_s, clock)
        self._losses: Counter[str] = Counter()  # by trial, since its latest epoch
        self._curves: dict[str, dict[int, float]] = {}
        self._epochs: dict[str, int] = {}  # the latest that was reported, by trial
        self._exhausted = False
        self._outcomes: dict[str, Outcome] = {}
        self.fatal: Leave | None = None  # what stopped the search
        if storage.exists(self.uri):
            self._restore(json.loads(storage.read_text(self.uri)))

    @property
    def outcomes(self) -> dict[str, Outcome]:
        """How trials ended, by id, in the order of their end."""
        with self._lock:
            return dict(self._outcomes)

    @property
    def over(self) -> bool:
        """Whether all trials have ended."""
        with self._lock:
            no_more = self._exhausted or self._oracle.has_started_all
            return no_more and not self._oracle.has_open_trials

    @property
    def live_workers(self) -> list[str]:
        """Ids of workers with a heartbeat within the deadline that have not left."""
        with self._lock:
            return self._heartbeats.live

    @property
    def silent_s(self) -> float:
        """Seconds since the latest heartbeat of any worker."""
        with self._lock:
            return self._heartbeats.silent_s

    def trials(self) -> dict[str, dict[str, Any]]:
        """The values chosen for each trial, by id, in the order of their start."""
        with self._lock:
            started = sorted(self._oracle.trials, key=int)
            return {trial_id: self.assignment(trial_id).searched for trial_id in started}

    def assignment(self, trial_id: str) -> Assignment:
        """What a worker needs to run a trial."""
        values = self._oracle.trials[trial_id].hyperparameters.values
        settings = {**self._space.settings(values), **self._fixed}
        searched = {key: settings[key] for key in self._space.searched if key in values}
        if "tuner/epochs" in values:  # hyperband's share
            settings["epochs"] = searched["epochs"] = values["tuner/epochs"]
        objective, before = self._config.objective, values.get("tuner/trial_id")
        return Assignment(trial_id, settings, searched, objective, before)

    def ask(self, worker: Worker) -> Assignment | None:
        """Assign a trial, or return the worker's current one; None: there is none now.

        An assignment is returned once it is in the file, so that no other chief gives it another
        meaning; until then a worker that asks again gets None.
        """
        assignment = None
        with self._lock, self._stopping_at_errors():
            self._register(worker)
            if not self.fatal:
                assignment = self._assign(worker)
        return assignment if assignment and self._save() else None

    def _assign(self, worker: Worker) -> Assignment | None:
        before = self._oracle.ongoing_trials.get(worker.tuner_id)
        trial = self._oracle.create_trial(worker.tuner_id)
        if trial.status != TrialStatus.RUNNING:
            self._exhausted = self._exhausted or trial.status == TrialStatus.STOPPED
            return None
        if trial is not before:
            self._version += 1
        return self.assignment(trial.trial_id)

    def report(
        self, worker: Worker, trial_id: str, epoch: int | None = None, value: float | None = None
    ) -> Order:
        """Record a heartbeat, and the objective after an epoch of the trial."""
        with self._lock:
            self._heartbeats.record(worker)
            if self.fatal or not self._owns(worker, trial_id):
                return "drop"
            if epoch is not None and epoch > self._epochs.get(trial_id, 0):
                self._epochs[trial_id] = epoch
                self._losses.pop(trial_id, None)  # a trial with progress does not kill workers
            if epoch is None or value is None or not self._may_stop_early:
                return "continue"
            curve = self._curves.setdefault(trial_id, {})
            curve[epoch] = value
            finished = [
                self._curves[other]
                for other, outcome in self._outcomes.items()
                if outcome.status == "completed" and other in self._curves
            ]
            return "stop" if cannot_win(curve, finished) else "continue"

    def end(self, worker: Worker, trial_id: str, outcome: Outcome) -> Order:
        """Record the outcome of a trial."""
        with self._lock, self._stopping_at_errors():
            self._heartbeats.record(worker)
            if self.fatal or not self._owns(worker, trial_id):
                return "drop"
            if outcome.ends_the_search:
                self.fatal = Leave(outcome.status, outcome.reason)
            if outcome.status == "released" or outcome.ends_the_search:
                self._oracle.take_back(worker.tuner_id)
            else:
                self._record(trial_id, outcome)
            self._version += 1
        self._save()
        return "continue"

    def leave(self, worker: Worker) -> None:
        """Stop expecting a worker, which will not ask again."""
        with self._lock:
            self._heartbeats.leave(worker)

    def take_over(self, worker: Worker) -> None:
        """Take back the trials of all other workers, which are known to be gone."""
        with self._lock:
            for tuner_id in list(self._oracle.ongoing_trials):
                if tuner_id != worker.tuner_id:
                    self._oracle.take_back(tuner_id)

    def reap(self) -> dict[str, str]:
        """Take back the trials of workers past their deadline; return trial ids by worker id."""
        lost: dict[str, str] = {}
        with self._lock, self._stopping_at_errors():
            for tuner_id in list(self._oracle.ongoing_trials):
                if self._heartbeats.is_overdue(tuner_id):
                    lost[tuner_id] = self._lose(tuner_id)
                    self._version += 1
        if lost:
            self._save()
        return lost

    def _lose(self, tuner_id: str) -> str:
        trial_id = str(self._oracle.ongoing_trials[tuner_id].trial_id)
        self._heartbeats.forget(tuner_id)
        if not self._count_loss(tuner_id, trial_id):
            self._oracle.take_back(tuner_id)
        return trial_id

    def _register(self, worker: Worker) -> None:
        """Let a process replace an earlier one of the same id, and inherit its trial."""
        replaced = self._heartbeats.register(worker)
        trial = self._oracle.ongoing_trials.get(worker.tuner_id)
        if trial and replaced:
            self._count_loss(worker.tuner_id, trial.trial_id)

    def _count_loss(self, tuner_id: str, trial_id: str) -> bool:
        """Count a lost process; return whether the trial has failed because of too many."""
        self._losses[trial_id] += 1
        self._version += 1
        if self._losses[trial_id] < _MOST_LOSSES:
            return False
        reason = f"{_MOST_LOSSES} workers were lost in this trial without completing another epoch"
        self._record(trial_id, Outcome("failed", reason=reason, worker=tuner_id))
        return True

    @contextlib.contextmanager
    def _stopping_at_errors(self) -> Iterator[None]:
        """Stop the search at an error in this code, in keras-tuner or of the storage.

        keras-tuner does not release its lock then, so it must not be called again.
        """
        try:
            yield
        except JobError as error:
            self.fatal = Leave("broken", str(error))
        except Exception as error:
            _LOG.exception("the search is stopped")
            reason = f"{type(error).__name__}: {error} (its traceback is in the chief's log)"
            self.fatal = Leave("broken", reason)

    def _record(self, trial_id: str, outcome: Outcome) -> None:
        """Record the final outcome of a trial."""
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
            and config.algorithm != "hyperband"  # which has a rule of its own
        )

    def _owns(self, worker: Worker, trial_id: str) -> bool:
        trial = self._oracle.ongoing_trials.get(worker.tuner_id)
        return (
            trial is not None and trial.trial_id == trial_id and self._heartbeats.is_current(worker)
        )

    def _save(self) -> bool:
        """Write the state unless the file has it; return whether it has.

        False: another thread is writing, and will write this state, too; or the search is stopped.
        """
        if not self._writing.acquire(timeout=_PATIENCE_S):
            return False
        try:
            with self._stopping_at_errors():
                while self._written < self._version:
                    with self._lock:
                        version, text = self._version, json.dumps(self._dump())
                    storage.write_text(self.uri, text + "\n")
                    self._written = version
                return True
        finally:
            self._writing.release()
        return False

    def _dump(self) -> dict[str, Any]:
        return {
            **self._oracle.dump(),
            "outcomes": {key: dataclasses.asdict(one) for key, one in self._outcomes.items()},
            "losses": dict(self._losses),
            "curves": self._curves,
        }

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._oracle.restore(state)
        self._outcomes = {key: Outcome(**one) for key, one in state["outcomes"].items()}
        self._losses = Counter(state["losses"])
        self._curves = {
            trial_id: {int(epoch): value for epoch, value in curve.items()}
            for trial_id, curve in state["curves"].items()
        }
