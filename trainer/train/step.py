"""The training step, which gives the same result on one replica as on many.

Every replica embeds its part of the batch; the embeddings of all are gathered, with gradients; each
replica then computes the rows of the loss that are its own. Sums and counts of the rows are added
over the replicas. A replica differentiates its sum over the count of all, so the gradients add up
to those of one replica with the same global batch.
"""

import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from trainer.data.augment import N_DRAWS, augment_pairs
from trainer.model.learner import Learner
from trainer.model.losses import Part, Parts, Scalars
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
    parts = (learner, learner.target) if learner.target else (learner,)
    project, *others = (
        _projection(part.encoder, part.projector, jit_compile=jit_compile) for part in parts
    )
    tile_shape = learner.encoder.input_shape[1:]

    def step(batch: Mapping[str, tf.Tensor], frames: Any, number: tf.Tensor) -> tf.Tensor:
        step_seed = tf.stack([tf.cast(seed, tf.int64), number])
        seeds = tf.random.experimental.stateless_split(step_seed, 2)
        pairs = _pairs_of(batch, frames, tile_shape)
        draws = _own_draws(batch["sessions"], seeds[0])
        tiles = augment_pairs(augment, pairs[:, 0], pairs[:, 1], batch["sessions"], draws)
        sessions, labels = _gather([batch["sessions"], batch["labels"]])
        rows = _own_rows(batch["sessions"])
        beside = [other(tiles) for other in others]  # without a gradient
        with tf.GradientTape() as tape:
            projections = project(tiles)
            vectors = tf.concat([projections, *beside], axis=1) if beside else projections
            anchors, neighbours = _gather(tf.split(vectors, 2))
            own = learner.objective.function(anchors, neighbours, sessions, labels, seeds[1], rows)
            of_all = _sum_parts(own)
            share = own["loss"].over(of_all["loss"].count)
            (minimised,) = scaled(learner.optimizer, [share], up=True)
        scalars = {name: part.over(part.count) for name, part in of_all.items()}
        scalars["learning_rate"] = tf.convert_to_tensor(learner.optimizer.learning_rate)
        gradients = tape.gradient(minimised, learner.trainable_variables)
        scalars["gradient_norm"] = _apply(learner, gradients, clip_norm)
        return tf.stack([scalars[name] for name in names])

    @tf.function  # type: ignore[untyped-decorator]
    def train_steps(
        batches: Iterator[Any], frames: Any, first: tf.Tensor, n_steps: tf.Tensor
    ) -> tuple[Scalars, tf.Tensor]:
        total, waited_s, idle_since = tf.zeros([len(names)]), _ZERO_S, _ZERO_S
        for number in tf.range(first, first + n_steps):
            begin = _time_of([])  # the host may be here before the devices have computed a step
            with tf.control_dependencies([begin]):
                batch = next(batches)
            waited_s += tf.maximum(_time_of(batch) - tf.maximum(begin, idle_since), 0.0)
            per_replica = strategy.run(step, args=(batch, frames, number))
            learner.after_step(strategy, number)
            total += strategy.experimental_local_results(per_replica)[0]  # equal on every replica
            idle_since = _time_known(total)
        means = tf.unstack(total / tf.cast(n_steps, tf.float32))
        return dict(zip(names, means, strict=True)), waited_s

    return train_steps  # type: ignore[no-any-return]


def _projection(
    encoder: keras.Model, projector: keras.Model, *, jit_compile: bool
) -> Callable[[tf.Tensor], tf.Tensor]:
    """From tiles to what the loss sees of them, with the statistics of the batch."""
    encode = functools.partial(encoder, training=True)
    if jit_compile:
        encode = tf.function(encode, jit_compile=True)
    return lambda tiles: projector(encode(tiles), training=True)


def _pairs_of(
    batch: Mapping[str, tf.Tensor], frames: Any, tile_shape: tuple[int, int]
) -> tf.Tensor:
    """Tiles of the batch's pairs, float32 ``[n, 2, tile_frames, n_mels]``."""
    starts, length = batch["starts"], tile_shape[0]
    tiles = batch["tiles"] if frames is None else cut_tiles(frames, starts, length)
    return tf.ensure_shape(tf.cast(tiles, tf.float32), [None, 2, *tile_shape])


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
    optimizer = learner.optimizer
    gradients = _all_reduce(scaled(optimizer, gradients, up=False))
    clipped, norm = clip_global_norm(gradients, clip_norm)
    optimizer.apply(scaled(optimizer, clipped, up=True), learner.trainable_variables)
    return norm


def _sum_parts(own: Parts) -> Parts:
    """Add up the parts of all replicas, without gradients."""
    (stacked,) = _all_reduce(
        [tf.stop_gradient(tf.stack([tf.stack(part) for part in own.values()]))]
    )
    return {
        name: Part(*tf.unstack(part)) for name, part in zip(own, tf.unstack(stacked), strict=True)
    }


def _gather(parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Gather the rows of all replicas in order, with gradients: each adds its own to zeros.

    `all_gather` fails on hosts with one device each (TensorFlow 2.21).
    """
    replica = tf.distribute.get_replica_context()
    index, last = replica.replica_id_in_sync_group, replica.num_replicas_in_sync - 1

    def sheet(rows: tf.Tensor) -> tf.Tensor:
        local = tf.shape(rows)[0]
        around = [local * index, local * (last - index)]
        return tf.pad(rows, [around] + [[0, 0]] * (rows.shape.rank - 1))

    return _all_reduce([sheet(rows) for rows in parts])


def _all_reduce(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Add up tensors of one type over the replicas, all of them in one collective."""
    replica = tf.distribute.get_replica_context()
    return list(replica.all_reduce(tf.distribute.ReduceOp.SUM, list(values)))


def _own_rows(own: tf.Tensor) -> slice:
    """Say which rows of the global batch are those of this replica, ``[local batch, …]``."""
    local = tf.shape(own)[0]
    first = local * tf.distribute.get_replica_context().replica_id_in_sync_group
    return slice(first, first + local)


def _own_draws(own_rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw uniform numbers for this replica's anchors and neighbours ``[2, local batch, N_DRAWS]``.

    They are cut from the draws for the global batch, so a tile gets the same ones on any replica.
    """
    replicas = tf.distribute.get_replica_context().num_replicas_in_sync
    shape = [2, tf.shape(own_rows)[0] * replicas, N_DRAWS]
    return tf.random.stateless_uniform(shape, seed)[:, _own_rows(own_rows)]
