"""The loop of a worker: ask for a trial, run it, report its outcome."""

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Protocol

from dem import storage
from dem.errors import JobError, Terminated
from tuning.job_dir import TRIALS
from tuning.search.messages import Assignment, Leave, Order, Outcome
from tuning.space import as_cell
from tuning.workers.trial import Epoch, run_trial

_LOG = logging.getLogger(__name__)

_IDLE_S = 1.0


class Source(Protocol):
    """Where trials come from: the search itself, or the chief."""

    def ask(self) -> Assignment | Leave | None:
        """Ask for a trial; None: there is none now."""

    def report(self, trial_id: str, epoch: int | None, value: float | None) -> Order:
        """Report a heartbeat, and the objective after an epoch."""

    def end(self, trial_id: str, outcome: Outcome) -> None:
        """Report the outcome of a trial."""

    def release(self, trial_id: str) -> None:
        """Give a trial back unfinished."""

    def leave(self) -> None:
        """Report that this worker will not ask again."""


def work(
    source: Source,
    data: str,
    job_dir: str,
    name: str,
    terminated: Callable[[], bool],
) -> None:
    """Run trials until there are none.

    Args:
        source: of the trials.
        data: features directory.
        job_dir: of the search.
        name: of this worker.
        terminated: whether this process has received SIGTERM.

    Raises:
        InputError: settings or data do not fit; this ends the search for all workers.
        JobError: an error in the program ended the search; or this worker cannot continue, for
            example because the disk is full, but others can.
        Terminated: `terminated()` was true; the trial's state is saved.
    """
    trials_dir = storage.join(job_dir, TRIALS)
    while True:
        answer = source.ask()
        if isinstance(answer, Leave):
            source.leave()
            answer.raise_if_stopped()
            return
        if terminated():
            if answer:
                source.release(answer.trial_id)
            raise Terminated("between two trials; the same command resumes the search")
        if answer is None:
            time.sleep(_IDLE_S)
            continue
        values = "  ".join(f"{key}={as_cell(value)}" for key, value in answer.searched.items())
        _LOG.info(f"trial {answer.trial_id}: {values}")
        outcome = _run_one(source, answer, data, trials_dir, terminated)
        if outcome is None:
            _LOG.info(
                f"trial {answer.trial_id} is dropped: another worker has it, or the search is over"
            )
            time.sleep(_IDLE_S)
        else:
            source.end(answer.trial_id, dataclasses.replace(outcome, worker=name))


def _run_one(
    source: Source,
    assignment: Assignment,
    data: str,
    trials_dir: str,
    terminated: Callable[[], bool],
) -> Outcome | None:
    def report(update: Epoch | None) -> Order:
        epoch, value = (update.epoch, update.value) if update else (None, None)
        return source.report(assignment.trial_id, epoch, value)

    try:
        return run_trial(data, trials_dir, assignment, report, terminated)
    except (JobError, Terminated):
        source.release(assignment.trial_id)
        raise
