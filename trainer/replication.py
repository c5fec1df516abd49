"""Replicas, and the training step that gives the same result on one of them as on many.

Every replica embeds its part of the batch; the embeddings of all are gathered, with gradients; each
replica then computes the loss of the whole batch. Divided by the number of replicas, the gradients
that Keras sums over replicas are those of one replica with the same global batch.
"""

import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from beam_features.schema.errors import InputError
from trainer.augment import N_DRAWS, augment_pairs
from trainer.losses import OPPOSITE_COUNTS, Loss, Scalars, count_false_opposites
from trainer.optimizer import clip_global_norm

TrainSteps = Callable[[Iterator[Any], tf.Tensor], Scalars]


def make_strategy(replicas: int | None, batch_size: int) -> tf.distribute.MirroredStrategy:
    """Mirror over `replicas` GPUs, by default all; without a GPU over logical CPUs, by default one.

    Raises:
        InputError: there are fewer devices than replicas, `batch_size` is no multiple of them, or
            several hosts are asked for.
    """
    hosts = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {}).get("worker", [])
    if len(hosts) > 1:
        raise InputError(
            f"TF_CONFIG names {len(hosts)} workers, but training runs on one host; unset TF_CONFIG"
        )
    gpus = tf.config.list_physical_devices("GPU")
    kind, wanted = ("GPU", replicas or len(gpus)) if gpus else ("CPU", replicas or 1)
    if not gpus and wanted > 1:
        _split_cpu(wanted)
    there = len(tf.config.list_logical_devices(kind))
    if wanted > there:
        raise InputError(f"replicas={wanted}, but {there} {kind} devices are there; lower replicas")
    if batch_size % wanted:
        raise InputError(f"batch_size={batch_size} is no multiple of {wanted} replicas; change one")
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(wanted)])


def _split_cpu(parts: int) -> None:
    """Make logical CPUs, unless TensorFlow is running already; the caller counts what is there."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * parts
        )


def make_train_steps(
    strategy: tf.distribute.Strategy,
    encoder: keras.Model,
    projector: keras.Model,
    loss: Loss,
    optimizer: keras.optimizers.Optimizer,
    *,
    clip_norm: float | None,
    augment: Collection[str],
    seed: int,
) -> TrainSteps:
    """Build a function that makes `n` steps in one host call and returns the mean scalars.

    They are those of the loss, the ``gradient_norm`` before clipping, the ``learning_rate`` and the
    counts of opposites, true and false, by their labels, which reach nothing else. The
    batches are dicts as of `trainer.data.pair_batches`, distributed by `strategy`.
    """
    variables = trained_variables(encoder, projector, loss)
    names = (*loss.scalars, *OPPOSITE_COUNTS, "gradient_norm", "learning_rate")

    def step(batch: Mapping[str, tf.Tensor]) -> tf.Tensor:
        step_seed = tf.stack([tf.cast(seed, tf.int64), tf.cast(optimizer.iterations, tf.int64)])
        seeds = tf.random.experimental.stateless_split(step_seed, 2)
        tiles = augment_pairs(
            augment,
            tf.cast(batch["anchors"], tf.float32),
            tf.cast(batch["neighbours"], tf.float32),
            batch["sessions"],
            _own_draws(batch["sessions"], seeds[0]),
        )
        sessions = _gather(batch["sessions"])
        with tf.GradientTape() as tape:
            projections = projector(encoder(tiles, training=True), training=True)
            anchors, neighbours = tf.split(projections, 2)
            scalars, opposite = loss.function(
                _gather(anchors), _gather(neighbours), sessions, seeds[1]
            )
            share = scalars["loss"] / strategy.num_replicas_in_sync
        gradients = _sum_over_replicas(tape.gradient(share, variables))
        clipped, scalars["gradient_norm"] = clip_global_norm(gradients, clip_norm)
        scalars |= count_false_opposites(opposite, _gather(batch["labels"]))
        scalars["learning_rate"] = tf.convert_to_tensor(optimizer.learning_rate)
        # The optimizer sums over replicas once more, which each its share of the sum survives.
        shares = [gradient / strategy.num_replicas_in_sync for gradient in clipped]
        optimizer.apply(shares, variables)
        return tf.stack([scalars[name] for name in names])

    @tf.function  # type: ignore[untyped-decorator]
    def train_steps(batches: Iterator[Any], n_steps: tf.Tensor) -> Scalars:
        total = tf.zeros([len(names)])
        for _ in tf.range(n_steps):
            # Equal on every replica, since each computes the loss of the whole batch.
            per_replica = strategy.run(step, args=(next(batches),))
            total += strategy.reduce("MEAN", per_replica, axis=None)
        return dict(zip(names, tf.unstack(total / tf.cast(n_steps, tf.float32)), strict=True))

    return train_steps  # type: ignore[no-any-return]


def trained_variables(
    encoder: keras.Model, projector: keras.Model, loss: Loss
) -> list[keras.Variable]:
    """List everything that the optimizer changes."""
    models = (encoder, projector, loss)
    return [variable for model in models for variable in model.trainable_variables]


def _sum_over_replicas(gradients: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Gradients of the global loss, from each replica's part of them."""
    replica = tf.distribute.get_replica_context()
    return list(replica.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))


def _gather(rows: tf.Tensor) -> tf.Tensor:
    """Rows of all replicas in their order, with gradients: each adds its own to a sheet of zeros.

    `all_gather` would do, but fails on hosts with one device each (TensorFlow 2.21).
    """
    replica = tf.distribute.get_replica_context()
    local = tf.shape(rows)[0]
    before = local * replica.replica_id_in_sync_group
    after = local * (replica.num_replicas_in_sync - 1 - replica.replica_id_in_sync_group)
    sheet = tf.pad(rows, [[before, after]] + [[0, 0]] * (rows.shape.rank - 1))
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, sheet)


def _own_draws(own_rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Uniform draws for this replica's anchors and neighbours: ``[2, local batch, N_DRAWS]``.

    They are cut from the draws for the global batch, so each tile gets the same on any replica.
    """
    replica = tf.distribute.get_replica_context()
    local = tf.shape(own_rows)[0]
    draws = tf.random.stateless_uniform([2, local * replica.num_replicas_in_sync, N_DRAWS], seed)
    first = local * replica.replica_id_in_sync_group
    return draws[:, first : first + local]
