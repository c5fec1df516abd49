"""A training run from settings to a finished job directory; a killed one resumes."""

import functools
import json
import logging
from collections.abc import Callable
from typing import Any

from dem import storage
from dem.termination import keep_watching
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.augment import check_mixing
from trainer.data.checks import require_audible, require_pairs, require_shards
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.model.learner import build_learner
from trainer.runtime.job_dir import LOGS, METRICS, check_job_dir, claim_job_dir
from trainer.train.cluster import join_workers, report_lost_workers, require_agreement
from trainer.train.devices import check_devices, device_names, make_strategy
from trainer.train.epoch import report_epoch
from trainer.train.finish import finish
from trainer.train.loop import train_epochs
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
) -> dict[str, Any]:
    """Train, evaluate after each epoch, export; return the content of `metrics.json`.

    Args:
        data: features directory.
        job_dir: where checkpoints, logs, export and metrics go.
        config: the settings; those left open are filled in from the data.
        terminated: whether this process has received SIGTERM, and so must save and stop.
        on_epoch: called after each epoch; for one that is complete but not saved, again after a
            restart.

    Raises:
        InputError: the data are unusable, or the job directory belongs to other settings.
        DivergedError: the loss is not finite, or the embedding has collapsed.
        JobError: the disk is full, or another worker is lost.
        Terminated: `terminated()` was true; the state is saved.
    """
    features = open_features(data)
    resolved = resolve_config(config, features)
    check_job_dir(job_dir, resolved)
    metrics_uri = storage.join(job_dir, METRICS)
    if storage.exists(metrics_uri):
        _LOG.info(f"{job_dir} is finished already, nothing to do")
        return dict(json.loads(storage.read_text(metrics_uri)))
    cluster = read_cluster()
    if cluster.workers > 1:
        _LOG.info(f"worker {cluster.index} of {cluster.workers}, waiting for the others")
    with report_lost_workers(cluster, terminated):
        run = _start(features, job_dir, resolved, cluster, terminated)
        validation = Validation(
            features, resolved, run.learner, run.corrupt, run.stop_if_terminated
        )
        if limits := validation.limits():
            run.workers.log(limits, logging.WARNING)
        train_epochs(run, functools.partial(_end_epoch, run, validation, on_epoch))
        return finish(run, validation, job_dir)


def _start(
    features: Features,
    job_dir: str,
    config: ResolvedConfig,
    cluster: Cluster,
    terminated: Callable[[], bool],
) -> Run:
    """Check everything that could fail later, then claim the job directory and build the model."""
    strategy = make_strategy(config.replicas, config.batch_size)  # starts TensorFlow
    keep_watching()
    corrupt = CorruptRecords(config.corrupt_records_budget)
    _check_data(features, config, strategy.num_replicas_in_sync, corrupt)
    workers = join_workers(cluster, strategy)
    require_agreement(workers.exchange, "settings or data", config)
    info = features.info
    with strategy.scope():
        moments = info.moments(config.train_partitions)
        learner = build_learner(config, info.feature_spec.tile_shape, moments)
    for warning in check_devices(config, learner.encoder, strategy):
        workers.log(warning, logging.WARNING)
    if workers.is_chief:
        claim_job_dir(job_dir, config)
    logs = storage.join(job_dir, LOGS)
    run = start_run(config, features, workers, learner, corrupt, terminated, job_dir, logs=logs)
    if run.progress.step == 0:
        log_settings(run.events, config)
    hosts = f" of {strategy.num_replicas_in_sync} on {cluster.workers} hosts"
    devices = ", ".join(device_names(strategy))
    workers.log(f"training on {devices}{hosts if cluster.workers > 1 else ''}")
    return run


def _check_data(
    features: Features, config: ResolvedConfig, replicas: int, corrupt: CorruptRecords
) -> None:
    """Raise an InputError where there is nothing to train or measure on."""
    check_mixing(config.augment, config.batch_size, replicas)
    require_shards(features, [*config.train_partitions, *config.validation_partitions])
    require_pairs(features, config.train_partitions, config.positives, corrupt)
    if config.validation_partitions:
        require_audible(features, config.validation_partitions, corrupt)


def _end_epoch(run: Run, validation: Validation, on_epoch: OnEpoch) -> None:
    recall = report_epoch(run, validation)
    on_epoch(run.progress.epochs_reported + 1, recall)
