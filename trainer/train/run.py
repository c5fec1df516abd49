"""A training run from settings to a finished job directory; a killed one resumes."""

import contextlib
import functools
import json
import logging
from collections.abc import Callable
from typing import Any

from dem import storage
from dem.guard import Phase, phase
from dem.termination import keep_watching
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.augment import check_mixing
from trainer.data.checks import require_audible, require_shards
from trainer.data.features import Features, open_features
from trainer.model.learner import Learner
from trainer.runtime.job_dir import CHECKPOINTS, LOGS, METRICS, check_job_dir, claim_job_dir
from trainer.runtime.lease import hold_lease
from trainer.train.checkpoints import list_checkpoints
from trainer.train.cluster import (
    Workers,
    join_workers,
    report_lost_workers,
    require_agreement,
)
from trainer.train.corpus import Corpus, open_corpus
from trainer.train.devices import check_devices, device_names, make_strategy
from trainer.train.epoch import report_epoch
from trainer.train.finish import finish
from trainer.train.initial import (
    build_initial_learner,
    keep_initial_encoder,
    pin_initial_encoder,
)
from trainer.train.loop import train_epochs
from trainer.train.rendezvous import meet
from trainer.train.resolve import resolve_config
from trainer.train.state import Run, start_run
from trainer.train.telemetry import log_settings
from trainer.train.tf_config import Cluster, read_cluster
from trainer.train.validation import Validation

_LOG = logging.getLogger(__name__)

OnEpoch = Callable[[int, float | None], None]
"""Called with the number of each complete epoch, from 1, and its `recall_at_1`."""


def train(
    data: str,
    job_dir: str,
    config: TrainConfig,
    terminated: Callable[[], bool],
    on_epoch: OnEpoch = lambda _epoch, _recall_at_1: None,
    *,
    may_extend: bool = True,
) -> dict[str, Any]:
    """Train, evaluate after each epoch, export; return the content of `metrics.json`.

    Args:
        data: features directory.
        job_dir: where checkpoints, logs, export and metrics go.
        config: the settings; those left open are filled in from the data.
        terminated: whether this process has received SIGTERM, and so must save and stop.
        on_epoch: called after each epoch; for one that is complete but not saved, again after a
            restart.
        may_extend: go on where a finished run had fewer epochs.

    Raises:
        InputError: the data are unusable, or the job directory belongs to other settings or to an
            earlier version.
        DivergedError: the loss or a weight is not finite, or the embedding has collapsed.
        JobError: the disk is full, another process trains in the job directory, or another worker
            is lost.
        Terminated: `terminated()` was true; the state is saved.
    """
    features = open_features(data)
    resolved = pin_initial_encoder(job_dir, resolve_config(config, features))
    check_job_dir(job_dir, resolved, may_extend=may_extend)
    metrics = _finished(job_dir, resolved)
    if metrics:
        _LOG.info(f"{job_dir} is finished already, nothing to do")
        return metrics
    list_checkpoints(storage.join(job_dir, CHECKPOINTS))  # raises if of an earlier version
    cluster = read_cluster()
    if cluster.workers > 1:
        _LOG.info(f"worker {cluster.index} of {cluster.workers}")
    meet(cluster)
    with report_lost_workers(cluster, terminated), contextlib.ExitStack() as until_end:
        workers, learner, corpus = _build(features, job_dir, resolved, cluster)
        if workers.is_chief:
            terminated = until_end.enter_context(hold_lease(job_dir, terminated))
            keep_initial_encoder(job_dir, resolved)
            claim_job_dir(job_dir, resolved)
        workers.exchange([0])  # a predecessor may have written checkpoints until now
        run = _start(features, job_dir, resolved, workers, learner, corpus, terminated)
        validation = Validation(
            features, resolved, run.learner, corpus.corrupt, run.stop_if_terminated
        )
        if limits := validation.limits():
            run.workers.log(limits, logging.WARNING)
        train_epochs(run, functools.partial(_end_epoch, run, validation, on_epoch))
        return finish(run, validation, job_dir)


def _finished(job_dir: str, config: ResolvedConfig) -> dict[str, Any] | None:
    """The metrics of a run that has all its epochs."""
    uri = storage.join(job_dir, METRICS)
    metrics = dict(json.loads(storage.read_text(uri))) if storage.exists(uri) else {}
    return metrics if metrics.get("epochs") == config.epochs else None


def _build(
    features: Features,
    job_dir: str,
    config: ResolvedConfig,
    cluster: Cluster,
) -> tuple[Workers, Learner, Corpus]:
    """Check everything that could fail later, and build the model."""
    with phase(Phase.JOINS):
        strategy = make_strategy(config.replicas, config.batch_size)  # starts TensorFlow
        keep_watching()
    check_mixing(config.augment, config.batch_size, strategy.num_replicas_in_sync)
    require_shards(features, [*config.train_partitions, *config.validation_partitions])
    corpus = open_corpus(features, config)
    if config.validation_partitions:
        require_audible(features, config.validation_partitions, corpus.corrupt)
    workers = join_workers(cluster, strategy)
    require_agreement(workers.exchange, "settings or data", config)
    with strategy.scope():
        learner = build_initial_learner(config, features, job_dir)
    for warning in check_devices(config, learner.encoder, strategy):
        workers.log(warning, logging.WARNING)
    return workers, learner, corpus


def _start(
    features: Features,
    job_dir: str,
    config: ResolvedConfig,
    workers: Workers,
    learner: Learner,
    corpus: Corpus,
    terminated: Callable[[], bool],
) -> Run:
    """Start the run in its job directory, or resume it."""
    logs = storage.join(job_dir, LOGS)
    run = start_run(config, features, workers, learner, corpus, terminated, job_dir, logs=logs)
    if run.progress.step == 0:
        log_settings(run.events, config)
    n_hosts, strategy = workers.cluster.workers, workers.strategy
    hosts = f" of {strategy.num_replicas_in_sync} on {n_hosts} hosts" if n_hosts > 1 else ""
    workers.log(f"training on {', '.join(device_names(strategy))}{hosts}")
    return run


def _end_epoch(run: Run, validation: Validation, on_epoch: OnEpoch) -> None:
    recall = report_epoch(run, validation)
    on_epoch(run.progress.epochs_reported + 1, recall)
