"""The training step, which gives the same result on one replica as on many.

Every replica embeds its part of the batch; the embeddings of all are gathered, with gradients; each
replica then computes the loss of the whole batch. Divided by the number of replicas, the gradients
that Keras sums over replicas are those of one replica with the same global batch.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.augment import N_DRAWS, augment_pairs
from trainer.model.learner import Learner
from trainer.model.losses import Scalars
from trainer.model.optimizer import clip_global_norm
from trainer.model.precision import scaled
from trainer.train.input import cut_tiles

TrainSteps = Callable[[Iterator[Any], Any, tf.Tensor, tf.Tensor], tuple[Scalars, tf.Tensor]]

_ZERO_S = np.float64(0.0)


def make_train_steps(
    strategy: tf.distribute.Strategy,
    learner: Learner,
    *,
    clip_norm: float | None,
    augment: Collection[str],
    seed: int,
    jit_compile: bool = False,
) -> TrainSteps:
    """Build a function that makes several steps in one host call.

    It takes batches and frames of `trainer.train.input.Input`, the number of steps that the run has
    made, and the number to make. It returns mean scalars: those of the objective, the
    ``gradient_norm`` before clipping and the ``learning_rate``; and the seconds for which the
    devices waited for batches.
    """
    names = (*learner.objective.scalars, "gradient_norm", "learning_rate")
    encode = functools.partial(learner.encoder, training=True)
    if jit_compile:
        encode = tf.function(encode, jit_compile=True)
    tile_shape = learner.encoder.input_shape[1:]

    def step(batch: Mapping[str, tf.Tensor], frames: Any, number: tf.Tensor) -> tf.Tensor:
        step_seed = tf.stack([tf.cast(seed, tf.int64), number])
        seeds = tf.random.experimental.stateless_split(step_seed, 2)
        if frames is None:
            pairs = batch["tiles"]
        else:
            pairs = cut_tiles(frames, batch["starts"], tile_shape[0])
        pairs = tf.ensure_shape(tf.cast(pairs, tf.float32), [None, 2, *tile_shape])
        draws = _own_draws(batch["sessions"], seeds[0])
        tiles = augment_pairs(augment, pairs[:, 0], pairs[:, 1], batch["sessions"], draws)
        sessions, labels = _gather(batch["sessions"]), _gather(batch["labels"])
        with tf.GradientTape() as tape:
            projections = learner.projector(encode(tiles), training=True)
            anchors, neighbours = (_gather(rows) for rows in tf.split(projections, 2))
            scalars = learner.objective.function(anchors, neighbours, sessions, labels, seeds[1])
            share = scalars["loss"] / strategy.num_replicas_in_sync
            (target,) = scaled(learner.optimizer, [share], up=True)
        scalars["learning_rate"] = tf.convert_to_tensor(learner.optimizer.learning_rate)
        gradients = tape.gradient(target, learner.trainable_variables)
        scalars["gradient_norm"] = _apply(learner, gradients, clip_norm)
        return tf.stack([scalars[name] for name in names])

    @tf.function  # type: ignore[untyped-decorator]
    def train_steps(
        batches: Iterator[Any], frames: Any, first: tf.Tensor, n_steps: tf.Tensor
    ) -> tuple[Scalars, tf.Tensor]:
        total, waited_s, idle_since = tf.zeros([len(names)]), _ZERO_S, tf.timestamp()
        for number in tf.range(first, first + n_steps):
            batch = next(batches)
            waited_s += tf.maximum(_time_of(batch) - idle_since, 0.0)
            # Equal on every replica, since each computes the loss of the whole batch.
            per_replica = strategy.run(step, args=(batch, frames, number))
            total += strategy.reduce("MEAN", per_replica, axis=None)
            idle_since = _time_known(total)
        means = tf.unstack(total / tf.cast(n_steps, tf.float32))
        return dict(zip(names, means, strict=True)), waited_s

    return train_steps  # type: ignore[no-any-return]


def _time_of(values: Any) -> tf.Tensor:
    """The time at which the operations that give these values have been called on the host."""
    values = tf.nest.flatten(values, expand_composites=True)
    with tf.device("CPU:0"), tf.control_dependencies(values):
        return tf.timestamp()


def _time_known(values: tf.Tensor) -> tf.Tensor:
    """The time at which values are known on the host; nothing else waits for it.

    Operations on a GPU are called before the device has computed what they depend on. A copy to the
    host tells when it has.
    """
    with tf.device("CPU:0"):
        return _time_of(tf.identity(values))


def _apply(learner: Learner, gradients: Sequence[tf.Tensor], clip_norm: float | None) -> tf.Tensor:
    """Sum each replica's part of the gradients, clip, apply; return their norm before clipping."""
    replica, optimizer = tf.distribute.get_replica_context(), learner.optimizer
    gradients = scaled(optimizer, gradients, up=False)
    gradients = replica.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))
    clipped, norm = clip_global_norm(gradients, clip_norm)
    # The optimizer sums over replicas again, so each gives its share of the sum.
    shares = [gradient / replica.num_replicas_in_sync for gradient in clipped]
    optimizer.apply(scaled(optimizer, shares, up=True), learner.trainable_variables)
    return norm


def _gather(rows: tf.Tensor) -> tf.Tensor:
    """Gather the rows of all replicas in order, with gradients: each adds its own to zeros.

    `all_gather` fails on hosts with one device each (TensorFlow 2.21).
    """
    replica = tf.distribute.get_replica_context()
    local = tf.shape(rows)[0]
    before = local * replica.replica_id_in_sync_group
    after = local * (replica.num_replicas_in_sync - 1 - replica.replica_id_in_sync_group)
    sheet = tf.pad(rows, [[before, after]] + [[0, 0]] * (rows.shape.rank - 1))
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, sheet)


def _own_draws(own_rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw uniform numbers for this replica's anchors and neighbours ``[2, local batch, N_DRAWS]``.

    They are cut from the draws for the global batch, so a tile gets the same ones on any replica.
    """
    replica = tf.distribute.get_replica_context()
    local = tf.shape(own_rows)[0]
    draws = tf.random.stateless_uniform([2, local * replica.num_replicas_in_sync, N_DRAWS], seed)
    first = local * replica.replica_id_in_sync_group
    return draws[:, first : first + local]
