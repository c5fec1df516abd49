"""The loop of a worker: ask for a trial, run it, tell what came of it."""

import logging
import time
from collections.abc import Callable
from typing import Protocol

from dem import storage
from dem.errors import JobError, Terminated
from tuning.search.messages import Assignment, Leave, Order, Outcome
from tuning.space import as_cell
from tuning.workers.trial import Epoch, run_trial

_LOG = logging.getLogger(__name__)

TRIALS = "trials"  # directory of the job directories of trials

_IDLE_S = 1.0


class Source(Protocol):
    """Where trials come from: the search itself, or the chief."""

    def ask(self) -> Assignment | Leave | None:
        """Ask for a trial; None: there is none now."""

    def report(self, trial_id: str, epoch: int | None, value: float | None) -> Order:
        """Tell that the trial goes on, and what an epoch of it brought."""

    def end(self, trial_id: str, outcome: Outcome) -> None:
        """Tell what came of a trial."""

    def release(self, trial_id: str) -> None:
        """Give a trial back unfinished."""

    def leave(self) -> None:
        """Say that this worker will not ask again."""


def work(
    source: Source,
    data: str,
    job_dir: str,
    name: str,
    terminated: Callable[[], bool],
) -> None:
    """Run trials until there are none.

    Args:
        source: where they come from.
        data: features directory.
        job_dir: of the search.
        name: of this worker.
        terminated: whether this process is asked to stop.

    Raises:
        InputError: settings or data do not fit, so the search is over for all.
        JobError: an error in a program ended the search; or this worker cannot go on, say because
            the disk is full, but others may.
        Terminated: `terminated()` was true; the trial's state is saved.
    """
    trials_dir = storage.join(job_dir, TRIALS)
    while True:
        told = source.ask()
        if isinstance(told, Leave):
            source.leave()
            told.raise_if_stopped()
            return
        if terminated():
            if told:
                source.release(told.trial_id)
            raise Terminated("between two trials; the same command goes on from there")
        if told is None:
            time.sleep(_IDLE_S)
            continue
        values = "  ".join(f"{key}={as_cell(value)}" for key, value in told.searched.items())
        _LOG.info(f"trial {told.trial_id}: {values}")
        outcome = _run_one(source, told, data, trials_dir, terminated)
        if outcome is None:
            _LOG.info(
                f"trial {told.trial_id} is dropped: another worker has it, or the search is over"
            )
            time.sleep(_IDLE_S)
        else:
            source.end(told.trial_id, Outcome(**{**vars(outcome), "worker": name}))


def _run_one(
    source: Source,
    assignment: Assignment,
    data: str,
    trials_dir: str,
    terminated: Callable[[], bool],
) -> Outcome | None:
    def report(told: Epoch | None) -> Order:
        epoch, value = (told.epoch, told.value) if told else (None, None)
        return source.report(assignment.trial_id, epoch, value)

    try:
        return run_trial(data, trials_dir, assignment, report, terminated)
    except (JobError, Terminated):
        source.release(assignment.trial_id)
        raise
