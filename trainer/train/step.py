"""The training step, which gives the same result on one replica as on many.

Every replica embeds its part of the batch; the embeddings of all are gathered, with gradients; each
replica then computes the loss of the whole batch. Divided by the number of replicas, the gradients
that Keras sums over replicas are those of one replica with the same global batch.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.data.augment import N_DRAWS, augment_pairs
from trainer.model.learner import Learner
from trainer.model.losses import Scalars
from trainer.model.optimizer import clip_global_norm
from trainer.model.precision import scaled

TrainSteps = Callable[[Iterator[Any], tf.Tensor, tf.Tensor], tuple[Scalars, tf.Tensor]]


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

    It takes batches from `trainer.train.input.distribute`, the number of steps that the run has
    made, and the number to make. It returns mean scalars: those of the objective, the
    ``gradient_norm`` before clipping and the ``learning_rate``; and the seconds for which the steps
    waited for batches.
    """
    names = (*learner.objective.scalars, "gradient_norm", "learning_rate")
    encode = functools.partial(learner.encoder, training=True)
    if jit_compile:
        encode = tf.function(encode, jit_compile=True)

    def step(batch: Mapping[str, tf.Tensor], number: tf.Tensor) -> tf.Tensor:
        step_seed = tf.stack([tf.cast(seed, tf.int64), number])
        seeds = tf.random.experimental.stateless_split(step_seed, 2)
        tiles = augment_pairs(
            augment,
            tf.cast(batch["anchors"], tf.float32),
            tf.cast(batch["neighbours"], tf.float32),
            batch["sessions"],
            _own_draws(batch["sessions"], seeds[0]),
        )
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
        batches: Iterator[Any], first: tf.Tensor, n_steps: tf.Tensor
    ) -> tuple[Scalars, tf.Tensor]:
        total, waited_s = tf.zeros([len(names)]), tf.constant(0.0, tf.float64)
        for number in tf.range(first, first + n_steps):
            batch, took_s = _timed_next(batches, after=total)
            waited_s += took_s
            # Equal on every replica, since each computes the loss of the whole batch.
            per_replica = strategy.run(step, args=(batch, number))
            total += strategy.reduce("MEAN", per_replica, axis=None)
        means = tf.unstack(total / tf.cast(n_steps, tf.float32))
        return dict(zip(names, means, strict=True)), waited_s

    return train_steps  # type: ignore[no-any-return]


def _timed_next(batches: Iterator[Any], after: tf.Tensor) -> tuple[Any, tf.Tensor]:
    """Take a batch; return it and the seconds since `after` was known on the host.

    `after` depends on the gradients of the previous step, so the devices were idle in that time.
    """
    with tf.device("CPU:0"):
        with tf.control_dependencies([tf.identity(after)]):
            begin = tf.timestamp()
        with tf.control_dependencies([begin]):
            batch = next(batches)
        with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
            return batch, tf.timestamp() - begin


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
