"""A trial: a training run in a process of its own, which releases all its memory at its end.

The process reports each epoch and the end of the run through a pipe. It ends with its parent, even
if that was killed, because two processes must not write into one directory.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, Self

from dem import log
from dem.errors import DivergedError, ExitCode, InputError, JobError, Terminated, described
from dem.settings import build_settings
from dem.termination import watch_sigterm
from trainer.config import ClassifyConfig, TrainConfig
from trainer.runtime.startup import load_tensorflow
from tuning.search.messages import Assignment, Order, Outcome

_LOG = logging.getLogger(__name__)

_POLL_S = 0.5
_LONGEST_SAVE_S = 60.0  # from SIGTERM to the end of the process; then it is killed
_LONGEST_EXIT_S = 10.0  # from the last message to the end of the process

_Processes = multiprocessing.get_context("spawn")  # TensorFlow's threads do not survive a fork


@dataclass(frozen=True)
class Epoch:
    """A completed epoch; the value is None if the objective is measured only after the last one."""

    epoch: int
    value: float | None


@dataclass(frozen=True)
class End:
    """How the run ended; `aborted`: for a reason other than its settings, such as a full disk."""

    kind: Literal["completed", "failed", "aborted", "refused", "broken"]
    value: float | None = None
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""


def run_trial(
    data: str,
    trials_dir: str,
    assignment: Assignment,
    report: Callable[[Epoch | None], Order],
    terminated: Callable[[], bool],
) -> Outcome | None:
    """Run a trial until it ends or is ordered to stop.

    Args:
        data: features directory.
        trials_dir: contains the trial's job directory, named by its id.
        assignment: the trial and its settings.
        report: called after each epoch, and several times a second in between; returns an order.
        terminated: whether this process has received SIGTERM.

    Returns:
        The outcome; None: the order was to drop the trial.

    Raises:
        JobError: the run failed for a reason other than its settings, such as a full disk.
        Terminated: `terminated()` was true; the run's state is saved.
    """
    begin, last = time.monotonic(), Epoch(0, None)
    with _Run.start(data, trials_dir, assignment) as run:
        while True:
            update = run.receive(_POLL_S)
            if isinstance(update, End) and (update.kind == "completed" or not terminated()):
                return _outcome(update)
            if isinstance(update, End) or terminated():
                raise Terminated("the trial's state is saved; the same command resumes it")
            last = update or last
            order = report(update)
            if order == "drop":
                run.kill()
                return None
            if order == "stop":
                end = run.stop()  # the run may have ended in the meantime
                if end:
                    return _outcome(end)
                took_s, reason = time.monotonic() - begin, "below the median of completed trials"
                return Outcome("stopped", last.value, last.epoch, took_s, reason)


def _outcome(end: End) -> Outcome:
    """Convert the end of a run; raise a JobError if it was aborted."""
    if end.kind == "aborted":
        raise JobError(end.reason)
    return Outcome(end.kind, end.value, end.epochs, end.seconds, end.reason)


class _Run:
    """The parent's handle of the process."""

    def __init__(self, process: Any, pipe: Connection) -> None:
        self._process, self._pipe = process, pipe

    @classmethod
    def start(cls, data: str, trials_dir: str, assignment: Assignment) -> Self:
        here, there = _Processes.Pipe(duplex=False)
        arguments = (there, data, trials_dir, assignment)
        process = _Processes.Process(target=_run, args=arguments, name=assignment.trial_id)
        process.start()
        there.close()  # so that the pipe closes when the process ends
        return cls(process, here)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if any(raised):
            self.stop()
        self._process.join(_LONGEST_EXIT_S)
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def receive(self, timeout_s: float) -> Epoch | End | None:
        """Return the next message, None after the timeout; the last message is always an `End`.

        Raises:
            Terminated: the process was stopped from outside.
        """
        try:
            if not self._pipe.poll(timeout_s):
                return None
            message: Epoch | End = self._pipe.recv()
        except EOFError:
            self._process.join()
            return _end_from(self._process.exitcode)
        return message

    def kill(self) -> None:
        """End the process without saving."""
        self._process.kill()

    def stop(self) -> End | None:
        """Stop the process after it has saved its state; return its `End` if it sent one."""
        self._process.terminate()
        self._process.join(_LONGEST_SAVE_S)
        self._process.kill()
        try:
            while True:
                message = self._pipe.recv()
                if isinstance(message, End):
                    return message
        except EOFError:
            return None


def _end_from(exit_code: int) -> End:
    """Interpret the exit code of a process that sent no `End`."""
    if exit_code in (ExitCode.TERMINATED, -signal.SIGTERM, -signal.SIGINT):
        raise Terminated(
            "the trial was stopped and its state is saved; the same command resumes it"
        )
    if exit_code == -signal.SIGKILL:
        return End("failed", reason="killed by SIGKILL, probably because memory ran out")
    if exit_code < 0:
        return End("failed", reason=f"killed by {signal.Signals(-exit_code).name}")
    return End("broken", reason=f"the process of a trial ended with exit code {exit_code}")


def _run(pipe: Connection, data: str, trials_dir: str, assignment: Assignment) -> None:
    """Run in the process of a trial."""
    log.set_up()
    terminated = watch_sigterm()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent stops this process
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    try:
        end = _train(pipe, data, trials_dir, assignment, terminated)
    except DivergedError as error:
        end = End("failed", reason=str(error))
    except InputError as error:
        end = End("refused", reason=f"trial {assignment.trial_id}: {error}")
    except JobError as error:
        end = End("aborted", reason=str(error))
    except Terminated:
        raise SystemExit(ExitCode.TERMINATED) from None
    except Exception as error:  # outermost frame of the process, as in `run_command`
        trial = f"trial {assignment.trial_id}"
        _LOG.exception(f"{trial}: {type(error).__name__}")
        end = End("broken", reason=f"{trial}: {described(error)} (its traceback is above)")
    pipe.send(end)
    pipe.close()


def _train(
    pipe: Connection,
    data: str,
    trials_dir: str,
    assignment: Assignment,
    terminated: Callable[[], bool],
) -> End:
    load_tensorflow()
    from dem import storage
    from trainer.train.run import train

    job_dir = storage.join(trials_dir, assignment.trial_id)
    if assignment.continues:
        from trainer.runtime.job_dir import CHECKPOINTS
        from trainer.train.checkpoints import copy_newest

        before = storage.join(trials_dir, assignment.continues, CHECKPOINTS)
        copy_newest(before, storage.join(job_dir, CHECKPOINTS))

    def send(epoch: int, recall_at_1: float | None) -> None:
        pipe.send(Epoch(epoch, recall_at_1 if assignment.objective == "recall_at_1" else None))

    config = build_settings(TrainConfig, assignment.settings)
    metrics = train(data, job_dir, config, terminated, send)
    value = metrics["recall_at_1"]
    if assignment.objective == "macro_f1":
        value = _probe(data, job_dir)
    if value is None:
        raise InputError(
            "recall_at_1 cannot be measured: it needs two contexts in the validation partitions, "
            "one of them with two audible tiles; set others with "
            "--set space.validation_partitions=[…]"
        )
    return End("completed", value, metrics["epochs"], metrics["seconds"])


def _probe(data: str, job_dir: str) -> float:
    """Return the macro-F1 of a logistic regression on the encoder, on the validation partitions."""
    from trainer.classify.run import evaluate
    from trainer.runtime.job_dir import read_job_config

    job = read_job_config(job_dir)
    partitions = ClassifyConfig(
        train_partitions=job.train_partitions,
        validation_partitions=(),  # regularization is chosen within the training partitions
        test_partitions=job.validation_partitions,
    )
    results = evaluate(data, job_dir, "trained", "logistic", replace(partitions, seed=job.seed))
    return float(results["recording"]["macro_f1"])


def _exit_with_parent() -> None:
    """End this process when its parent ends, even if that one was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(ExitCode.FAILED)
