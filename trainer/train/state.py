"""The state of a run: what it trains, how far it is, and how it saves, resumes and stops."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from dem import storage
from dem.errors import DivergedError, InputError, Terminated
from dem.guard import Phase, phase
from trainer.config import ResolvedConfig
from trainer.data.features import Features
from trainer.model.learner import Learner
from trainer.runtime.job_dir import CHECKPOINTS
from trainer.runtime.tensorboard import EventLog
from trainer.train.checkpoints import Checkpoints
from trainer.train.cluster import Workers, wait_for_all
from trainer.train.corpus import Corpus


class Progress:
    """How far a run is, in variables that a checkpoint keeps."""

    def __init__(self, scalar_names: tuple[str, ...], steps_per_epoch: int) -> None:
        self._scalar_names, self._steps_per_epoch = scalar_names, steps_per_epoch
        self.variables = {
            "step": tf.Variable(0, dtype=tf.int64),  # float16 may skip one of the optimizer's
            "epochs_reported": tf.Variable(0),
            "epoch_sums": tf.Variable(  # of these scalars, over the epoch's steps so far
                tf.zeros([len(scalar_names)], tf.float64)
            ),
            "recall_at_1": tf.Variable(math.nan),  # after the last epoch
            "collapsed_epochs": tf.Variable(0),  # in a row, with a sign of collapse
            "seconds": tf.Variable(0.0, dtype=tf.float64),  # in training steps, over all restarts
            "input_wait_s": tf.Variable(0.0, dtype=tf.float64),  # of these, waiting for batches
        }

    def __getitem__(self, name: str) -> Any:
        """The value of a variable."""
        return self.variables[name].numpy().item()

    @property
    def step(self) -> int:
        """The number of steps made."""
        return int(self["step"])

    @property
    def epochs_reported(self) -> int:
        """The number of epochs that are complete, their report included."""
        return int(self["epochs_reported"])

    @property
    def end_of_epoch(self) -> int:
        """The number of steps after which the current epoch is reported."""
        return (self.epochs_reported + 1) * self._steps_per_epoch

    @property
    def epoch_means(self) -> dict[str, float]:
        """Mean of the objective's scalars over the last epoch."""
        means = self.variables["epoch_sums"].numpy() / self._steps_per_epoch
        return dict(zip(self._scalar_names, means.tolist(), strict=True))

    def count_steps(self, n_steps: int, means: Mapping[str, float]) -> None:
        """Add steps, with the means of their scalars."""
        sums = self.variables["epoch_sums"]
        if self.step % self._steps_per_epoch == 0:
            sums.assign(tf.zeros_like(sums))
        values = [means[name] for name in self._scalar_names]
        sums.assign_add(tf.constant(values, tf.float64) * n_steps)
        self.variables["step"].assign_add(n_steps)

    def count_epoch(self) -> None:
        """Add an epoch that is complete and reported."""
        self.variables["epochs_reported"].assign_add(1)

    def count_time(self, took_s: float, waited_s: float) -> None:
        """Add the time that steps took, and the part of it in which they waited for batches."""
        self.variables["seconds"].assign_add(took_s)
        self.variables["input_wait_s"].assign_add(waited_s)


@dataclass(frozen=True)
class Run:
    """A run in progress."""

    config: ResolvedConfig
    features: Features
    workers: Workers
    learner: Learner
    corpus: Corpus
    terminated: Callable[[], bool]
    progress: Progress
    checkpoints: Checkpoints
    events: EventLog

    @property
    def total_steps(self) -> int:
        """The number of steps of the finished run."""
        return self.config.epochs * self.config.steps_per_epoch

    def require_finite(self) -> None:
        """Refuse a state that cannot be trained further, so that the last checkpoint is kept.

        The loss of a step is that of the weights before it, so the last step of an epoch may leave
        NaN behind a finite loss.

        Raises:
            DivergedError: a weight, or a value that the optimizer keeps of it, is NaN or infinite.
        """
        names = self.learner.variables_not_finite()
        if self.workers.exchange([len(names)]).any():  # so that all workers stop here
            name = names[0] if names else "those of another worker"
            raise diverged(f"weights are nan or inf ({name})", self.progress.step, self.config)

    def save(self) -> None:
        """Start to save the state; the steps go on while it is written.

        Raises:
            DivergedError: it is not worth saving; see `require_finite`.
            JobError: the last checkpoint could not be written.
        """
        self.require_finite()
        with phase(Phase.SAVES):
            self.events.flush()
        self.checkpoints.save()

    def stop_if_terminated(self) -> None:
        """Save and stop on all workers, once one of them has received SIGTERM.

        Raises:
            DivergedError: see `save`.
            JobError: the checkpoint could not be written.
            Terminated: one has.
        """
        exchange = self.workers.exchange
        if not exchange([self.terminated()]).any():
            return
        self.save()
        self.checkpoints.wait()
        wait_for_all(exchange)  # none may exit while another saves
        raise Terminated(f"state saved at step {self.progress.step} of {self.total_steps}")


def diverged(what: str, step: int, config: ResolvedConfig) -> DivergedError:
    """Say what is not finite at which step, and which settings to lower."""
    overflow = ", precision=mixed_bfloat16" if config.precision == "mixed_float16" else ""
    return DivergedError(
        f"{what} at step {step}; choose another --job-dir and a lower learning_rate than "
        f"{config.learning_rate}, or set clip_norm=1.0{overflow}"
    )


def start_run(
    config: ResolvedConfig,
    features: Features,
    workers: Workers,
    learner: Learner,
    corpus: Corpus,
    terminated: Callable[[], bool],
    directory: str,
    *,
    logs: str | None,
) -> Run:
    """Start a run, or resume it from the newest checkpoint in its directory.

    Args:
        config: the settings.
        features: where the corpus comes from.
        workers: what the run computes on.
        learner: what it trains.
        corpus: what it trains on.
        terminated: whether this process has received SIGTERM.
        directory: holds ``checkpoints/``.
        logs: directory for TensorBoard; None: none.

    Raises:
        InputError: the workers see different checkpoints, or those of another model or version.
        JobError: see `trainer.train.checkpoints.Checkpoints`.
    """
    progress = Progress(learner.objective.scalars, config.steps_per_epoch)
    is_chief = workers.is_chief
    checkpoints = Checkpoints(
        learner.state | {f"progress/{name}": value for name, value in progress.variables.items()},
        storage.join(directory, CHECKPOINTS),
        is_chief=is_chief,
        every_s=config.checkpoint_every_s,
    )
    resumed = checkpoints.restore_newest()
    steps = workers.exchange([progress.step])[:, 0]
    if (steps != progress.step).any():
        raise InputError(
            f"the workers see checkpoints of steps {steps.tolist()}; give a --job-dir on "
            "storage that all of them share"
        )
    events = EventLog(logs or directory, writes=is_chief and logs is not None, step=progress.step)
    run = Run(config, features, workers, learner, corpus, terminated, progress, checkpoints, events)
    if resumed:
        workers.log(f"resuming from step {progress.step} of {run.total_steps}")
    return run
