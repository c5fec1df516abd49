"""The encoder ``supervised``: a job's architecture trained end to end with labels.

It tells how far the architecture and the data carry, and so how much the training without labels
leaves to be gained. Input, augmentation, optimizer and number of steps are those of the job.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dem.errors import DivergedError, InputError
from trainer.classify.splits import balanced_weights
from trainer.config import ResolvedConfig
from trainer.data.augment import N_DRAWS, augment_pairs
from trainer.data.checks import require_pairs
from trainer.data.features import Features
from trainer.data.pairs import pair_batches
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import tile_batches
from trainer.model.encoders import build_encoder
from trainer.model.optimizer import build_optimizer, clip_global_norm

_LOG = logging.getLogger(__name__)

Step = Callable[[Mapping[str, tf.Tensor], tf.Tensor], tf.Tensor]


def train_supervised(
    features: Features, partitions: Sequence[str], job: ResolvedConfig
) -> keras.Model:
    """Train with the labels of the partitions, in float32 on one device.

    Args:
        features: where the tiles are.
        partitions: which of them have labels that may be seen.
        job: settings of the run whose architecture it is.

    Returns:
        The encoder ``[batch, tile_frames, n_mels] -> [batch, embedding_size]``; the linear layer
        that gave labels is gone.

    Raises:
        InputError: the partitions hold fewer than two labels, or no pairs.
        DivergedError: the loss is not finite.
    """
    job = replace(job, precision="float32")
    corrupt = CorruptRecords(job.corrupt_records_budget, "the training of the job")
    class_weights = balanced_weights(_label_counts(features, partitions, corrupt))
    require_pairs(features, partitions, job.positives, corrupt)
    encoder = build_encoder(
        job.architecture,
        features.info.feature_spec.tile_shape,
        job.embedding_size,
        features.info.moments(partitions),
        job.seed,
    )
    step = _step_function(encoder, class_weights, job)
    for epoch in range(job.epochs):
        batches = pair_batches(
            features,
            partitions,
            positives=job.positives,
            neighbourhood_s=job.neighbourhood_s,
            batch_size=job.batch_size,
            seed=job.seed,
            epoch=epoch,
            corrupt=corrupt,
        )
        first = epoch * job.steps_per_epoch
        numbered = batches.take(job.steps_per_epoch).enumerate(first).prefetch(tf.data.AUTOTUNE)
        loss = np.mean([float(step(batch, number)) for number, batch in numbered])
        if not np.isfinite(loss):
            raise DivergedError(
                f"the loss of the supervised encoder is {loss}; train a job with a lower "
                f"learning_rate than {job.learning_rate}"
            )
        _LOG.info(f"supervised epoch {epoch + 1}/{job.epochs}  loss {loss:.4f}")
    return encoder


def _label_counts(
    features: Features, partitions: Sequence[str], corrupt: CorruptRecords
) -> npt.NDArray[np.int64]:
    """Tiles of each label ``[n_classes]``."""
    counts = np.zeros(len(features.info.label_names), np.int64)
    for batch in tile_batches(features, partitions, corrupt):
        labels = np.array(batch.labels)
        counts += np.bincount(labels[labels >= 0], minlength=len(counts))
    if np.count_nonzero(counts) < 2:
        raise InputError(
            f"fewer than two labels in train_partitions={list(partitions)}; name others that have "
            "more with --set train_partitions=[…]"
        )
    return counts


def _step_function(
    encoder: keras.Model, class_weights: npt.NDArray[np.float32], job: ResolvedConfig
) -> Step:
    """Build a function that makes a step with a batch and returns the loss before it."""
    classify = keras.layers.Dense(len(class_weights), name="labels")
    classify.build(encoder.output_shape)
    variables = encoder.trainable_variables + classify.trainable_variables
    optimizer = build_optimizer(job, variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(batch: Mapping[str, tf.Tensor], number: tf.Tensor) -> tf.Tensor:
        anchors, labels = _augmented_anchors(batch, number, job), batch["labels"][:, 0]
        known = labels >= 0
        weights = tf.where(known, tf.gather(class_weights, tf.maximum(labels, 0)), 0)
        with tf.GradientTape() as tape:
            logits = classify(encoder(anchors, training=True))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), logits)
            n_known = tf.reduce_sum(tf.cast(known, tf.float32))
            loss = tf.reduce_sum(weights * losses) / tf.maximum(n_known, 1)
        gradients, _ = clip_global_norm(tape.gradient(loss, variables), job.clip_norm)
        optimizer.apply(gradients, variables)
        return loss

    return step  # type: ignore[no-any-return]


def _augmented_anchors(
    batch: Mapping[str, tf.Tensor], number: tf.Tensor, job: ResolvedConfig
) -> tf.Tensor:
    """Anchors as the training without labels sees them: ``[batch, tile_frames, n_mels]``."""
    anchors = tf.cast(batch["anchors"], tf.float32)
    seed = tf.stack([tf.constant(job.seed, tf.int64), number])
    draws = tf.random.stateless_uniform([2, job.batch_size, N_DRAWS], seed)
    sessions = batch["sessions"]
    pairs = augment_pairs(job.augment, anchors, anchors, sessions, draws)
    return tf.split(pairs, 2)[0]
