"""The encoder ``supervised``: a job's architecture trained end to end with labels.

It shows how far the architecture and the data can go, and so what training without labels leaves to
gain. Input, augmentation, optimizer, precision and number of steps are those of the job, and so are
the step and the loop: the training resumes from checkpoints, which lie in a directory for each
combination of settings, partitions and data.
"""

import dataclasses
import functools
import hashlib
import json
import logging
from collections.abc import Callable, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_features.schema.strip import NO_LABEL
from dem import storage
from dem.errors import InputError
from dem.settings import as_yaml_values
from trainer.classify.splits import balanced_weights
from trainer.config import ResolvedConfig
from trainer.data.checks import require_shards
from trainer.data.features import Features
from trainer.model.export import in_single_precision
from trainer.model.learner import Learner, Objective, build_learner
from trainer.model.losses import Parts, anchors_first, part_of
from trainer.model.vectors import Float32
from trainer.runtime.job_dir import CHECKPOINTS, claim_job_dir
from trainer.runtime.lease import hold_lease
from trainer.train.checkpoints import list_checkpoints
from trainer.train.cluster import Workers, join_workers
from trainer.train.corpus import open_corpus
from trainer.train.devices import check_devices, make_strategy
from trainer.train.loop import train_epochs
from trainer.train.state import Run, start_run
from trainer.train.tf_config import Cluster

_LOG = logging.getLogger(__name__)


def train_supervised(
    features: Features,
    partitions: Sequence[str],
    job: ResolvedConfig,
    home: str,
    terminated: Callable[[], bool],
) -> keras.Model:
    """Train with the labels of the partitions, on the devices of this host.

    Args:
        features: where the tiles are.
        partitions: those whose labels may be used.
        job: settings of the run whose architecture it is.
        home: holds a directory with settings and checkpoints for each such training.
        terminated: whether this process has received SIGTERM, and so must save and stop.

    Returns:
        The encoder ``[batch, tile_frames, n_mels] -> [batch, embedding_size]`` without the linear
        label layer, in float32.

    Raises:
        InputError: the partitions hold fewer than two labels, or no pairs.
        DivergedError: the loss or a weight is not finite.
        JobError: another process trains in the same directory.
        Terminated: `terminated()` was true; the state is saved.
    """
    config = dataclasses.replace(
        job,
        train_partitions=tuple(partitions),
        validation_partitions=(),
        test_partitions=(),
        content_sha256=features.info.content_sha256,
        profile_steps=None,
        init=None,
        init_sha256=None,
    )
    require_shards(features, partitions)
    corpus = open_corpus(features, config, tolerated_by="the training of the job")
    labels = corpus.store.index.labels
    class_weights = balanced_weights(_count_labels(labels, features, partitions))
    workers, learner = _build(features, config, class_weights)
    directory = storage.join(home, _digest(config))
    list_checkpoints(storage.join(directory, CHECKPOINTS))  # raises if of an earlier version
    with hold_lease(directory, terminated) as stops:
        claim_job_dir(directory, config)
        run = start_run(config, features, workers, learner, corpus, stops, directory, logs=None)
        train_epochs(run, functools.partial(_report_epoch, run))
    return in_single_precision(learner.encoder)


def label_loss(
    anchors: tf.Tensor,
    neighbours: tf.Tensor,
    _sessions: tf.Tensor,
    labels: tf.Tensor,
    _seed: tf.Tensor,
    rows: slice,
    *,
    class_weights: Float32,
) -> Parts:
    """Mean weighted cross-entropy of the tiles that have a label.

    Args:
        anchors: logits ``[batch, n_classes]``.
        neighbours: the same.
        labels: ``[batch, 2]`` of both, or `NO_LABEL`.
        rows: of the pairs to compute.
        class_weights: ``[n_classes]``.
    """
    logits = tf.concat([anchors[rows], neighbours[rows]], axis=0)  # [2 rows, n_classes]
    labels = anchors_first(labels[rows])  # [2 rows]
    known = labels != NO_LABEL
    labels = tf.where(known, labels, 0)
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return {"loss": part_of(tf.gather(class_weights, labels) * losses, known)}


def _count_labels(
    labels: npt.NDArray[np.int64], features: Features, partitions: Sequence[str]
) -> npt.NDArray[np.int64]:
    """Count the tiles of each label ``[n_classes]``."""
    names = features.info.label_names
    counts = np.bincount(labels[labels != NO_LABEL], minlength=len(names))
    if np.count_nonzero(counts) < 2:
        raise InputError(
            f"fewer than two labels in train_partitions={list(partitions)}; name others that have "
            "more with --set train_partitions=[…]"
        )
    return counts


def _build(
    features: Features, config: ResolvedConfig, class_weights: Float32
) -> tuple[Workers, Learner]:
    """Build the learner, on one device if the job is for one, otherwise on all of this host."""
    strategy = make_strategy(1 if config.replicas == 1 else None, config.batch_size)
    workers = join_workers(Cluster(), strategy)
    info = features.info
    head = functools.partial(_label_head, class_weights=class_weights)
    with strategy.scope():
        moments = info.moments(config.train_partitions)
        learner = build_learner(config, info.feature_spec.tile_shape, moments, head)
    check_devices(config, learner.encoder, strategy)
    return workers, learner


def _label_head(
    _config: ResolvedConfig, embedding_size: int, class_weights: Float32
) -> tuple[keras.Model, Objective]:
    """Build the linear label layer and its loss."""
    embeddings = keras.Input((embedding_size,), name="embedding")
    logits = keras.layers.Dense(len(class_weights), dtype="float32", name="labels")(embeddings)
    loss = functools.partial(label_loss, class_weights=class_weights)
    return keras.Model(embeddings, logits, name="classifier"), Objective(loss, ("loss",))


def _digest(config: ResolvedConfig) -> str:
    values = as_yaml_values(dataclasses.asdict(config))
    # Not there in earlier versions, and without influence here.
    weights = ("invariance_weight", "variance_weight", "covariance_weight")
    others = ("init", "init_sha256", "retrieval_gap_s", "checkpoint_every_s", "target_momentum")
    for key in weights + others:
        del values[key]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _report_epoch(run: Run) -> None:
    epoch, loss = run.progress.epochs_reported + 1, run.progress.epoch_means["loss"]
    _LOG.info(f"supervised epoch {epoch}/{run.config.epochs}  loss {loss:.4f}")
