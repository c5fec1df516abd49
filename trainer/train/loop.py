"""The training loop: steps, epoch by epoch, with checkpoints after each and by time."""

import math
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tqdm import tqdm

from dem.termination import unsaved_state
from trainer.model.losses import OPPOSITE_COUNTS
from trainer.train.epoch import false_opposite_share
from trainer.train.input import Input, open_input
from trainer.train.state import Run, diverged
from trainer.train.step import TrainSteps, make_train_steps
from trainer.train.telemetry import Profiler

_SECONDS_PER_HOST_CALL = 1.0  # so that SIGTERM is seen soon, and the host's share stays small
_MOST_STEPS_PER_HOST_CALL = 32


def train_epochs(run: Run, report_epoch: Callable[[], None]) -> None:
    """Make the steps that are left; report after each epoch, then save.

    Raises:
        DivergedError: the loss or a weight is not finite.
        JobError: the checkpoint cannot be written.
        Terminated: a worker has received SIGTERM; the state is saved.
    """
    config, progress = run.config, run.progress
    train_steps = make_train_steps(
        run.workers.strategy,
        run.learner,
        clip_norm=config.clip_norm,
        augment=config.augment,
        seed=config.seed,
        jit_compile=config.jit_compile,
    )
    steps_left = progress.step, run.total_steps
    source = open_input(run.workers.strategy, run.corpus.store, run.corpus.pairs, steps_left)
    if progress.step < run.total_steps:  # tracing may take longer than SIGTERM allows
        zero = tf.constant(0, tf.int64)
        train_steps(source.batches, source.frames, zero, zero)
    profile_steps = config.profile_steps if run.events.writes else None
    with (
        unsaved_state(),
        run.checkpoints,  # waits at the end for the last one
        Profiler(run.events.directory, profile_steps) as profiler,
        _progress_bar(run) as bar,
    ):
        while progress.epochs_reported < config.epochs:
            _finish_epoch(run, source, train_steps, profiler, bar)
            run.require_finite()  # what is measured next would fail in other words
            report_epoch()  # before saving: a run that fails here must fail here again
            progress.count_epoch()
            run.checkpoints.save()


def _progress_bar(run: Run) -> "tqdm[Any]":
    hidden = None if run.workers.is_chief else True  # None: hidden unless on a terminal
    return tqdm(total=run.total_steps, initial=run.progress.step, unit="step", disable=hidden)


def _finish_epoch(
    run: Run, source: Input, train_steps: TrainSteps, profiler: Profiler, bar: "tqdm[Any]"
) -> None:
    """Make the steps that are left of the current epoch, if any."""
    progress = run.progress
    n_steps, end = 1, progress.end_of_epoch
    while progress.step < end:
        run.stop_if_terminated()
        to_edge = profiler.steps_to_edge(progress.step) or end
        limit = min(n_steps, _MOST_STEPS_PER_HOST_CALL, end - progress.step, to_edge)
        # Workers must do the same: the chief's clock decides.
        n_steps, is_due = run.workers.exchange([limit, run.checkpoints.is_due()])[0].tolist()
        if is_due:
            run.save()
        profiler.update(progress.step)
        took_s = _make_steps(run, train_steps, source, n_steps)
        bar.update(n_steps)
        n_steps = max(int(_SECONDS_PER_HOST_CALL / took_s * n_steps), 1)


def _make_steps(run: Run, train_steps: TrainSteps, source: Input, n_steps: int) -> float:
    """Make steps in one host call, log their mean scalars, return the seconds."""
    progress, begin = run.progress, time.monotonic()
    first, count = (tf.constant(number, tf.int64) for number in (progress.step, n_steps))
    scalars, waited = train_steps(source.batches, source.frames, first, count)
    values = {name: float(value) for name, value in scalars.items()}
    took_s, waited_s = time.monotonic() - begin, float(waited)
    if not math.isfinite(values["loss"]):
        raise diverged(f"the loss is {values['loss']}", progress.step + n_steps, run.config)
    progress.count_steps(n_steps, values)
    progress.count_time(took_s, waited_s)
    share = false_opposite_share(values)
    values = {name: value for name, value in values.items() if name not in OPPOSITE_COUNTS}
    if share is not None:
        values["false_opposite_share"] = share
    values["tiles_per_s"] = 2 * run.config.batch_size * n_steps / took_s
    values["input_wait_share"] = waited_s / took_s
    run.events.log(values, progress.step)
    return took_s
