"""Replicas, and the training step that gives the same result on one of them as on many.

Every replica embeds its part of the batch; the embeddings of all are gathered, with gradients; each
replica then computes the loss of the whole batch. Divided by the number of replicas, the gradients
that Keras sums over replicas are those of one replica with the same global batch.
"""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from dem.errors import InputError
from trainer.data.augment import N_DRAWS, augment_pairs
from trainer.model.learner import Learner
from trainer.model.losses import OPPOSITE_COUNTS, Scalars, count_false_opposites
from trainer.model.optimizer import clip_global_norm
from trainer.model.precision import scaled
from trainer.train.cluster import read_cluster

TrainSteps = Callable[[Iterator[Any], tf.Tensor, tf.Tensor], tuple[Scalars, tf.Tensor]]


def make_strategy(replicas: int | None, batch_size: int) -> tf.distribute.Strategy:
    """Replicate over all GPUs of all hosts, or over `replicas` of one host's.

    Hosts without a GPU have one replica each; a single one can have several, on logical CPUs.

    Raises:
        InputError: there are fewer devices than replicas, or `batch_size` is no multiple of them.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # TensorFlow is running already
            tf.config.experimental.set_memory_growth(gpu, True)  # noqa: FBT003 - TensorFlow's API
    workers = read_cluster().workers
    if workers == 1:
        kind, wanted = ("GPU", replicas or len(gpus)) if gpus else ("CPU", replicas or 1)
    else:
        kind, wanted = ("GPU", workers * len(gpus)) if gpus else ("CPU", workers)
    if batch_size % wanted:
        raise InputError(f"batch_size={batch_size} is no multiple of {wanted} replicas; change one")
    if workers > 1:
        if replicas not in (None, wanted):
            raise InputError(
                f"replicas={replicas}, but {workers} workers have {wanted} devices; leave replicas "
                "out, it is for one host"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if not gpus and wanted > 1:
        _split_cpu(wanted)
    there = len(tf.config.list_logical_devices(kind))
    if wanted > there:
        raise InputError(f"replicas={wanted}, but {there} {kind} devices are there; lower replicas")
    if wanted == 1:  # where XLA takes synchronised batch norm: there is nothing to synchronise
        return tf.distribute.OneDeviceStrategy(f"{kind}:0")
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(wanted)])


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, batch_size: int
) -> Iterator[Any]:
    """Iterate over global batches such that replica `r` of `R` gets the `r`-th of `R` equal parts.

    Each host makes the global batch and drops the rows of the others: reading costs as much on
    each as on one, but the rows are the same however many there are.
    """
    local_rows = batch_size // strategy.num_replicas_in_sync

    def rows_of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = batch_size // context.num_input_pipelines
        first = rows * context.input_pipeline_id
        own = batches.map(
            lambda batch: {name: values[first : first + rows] for name, values in batch.items()}
        )
        return own.rebatch(local_rows, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return iter(strategy.distribute_datasets_from_function(rows_of_host))


def _split_cpu(parts: int) -> None:
    """Make logical CPUs, unless TensorFlow is running already; the caller counts what is there."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * parts
        )


def make_train_steps(
    strategy: tf.distribute.Strategy,
    learner: Learner,
    *,
    clip_norm: float | None,
    augment: Collection[str],
    seed: int,
    jit_compile: bool = False,
) -> TrainSteps:
    """Build a function that makes steps in one host call.

    It takes batches as `distribute` gives them, how many steps the run has made, and how many to
    make. It returns mean scalars, which are those of the loss, the ``gradient_norm`` before
    clipping, the ``learning_rate`` and the counts of opposites, true and false, by their labels,
    which reach nothing else; and the seconds for which the steps waited for batches.
    """
    names = (*learner.loss.scalars, *OPPOSITE_COUNTS, "gradient_norm", "learning_rate")

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
        sessions = _gather(batch["sessions"])
        with tf.GradientTape() as tape:
            projections = learner.projector(encode(tiles), training=True)
            anchors, neighbours = tf.split(projections, 2)
            scalars, opposite = learner.loss.function(
                _gather(anchors), _gather(neighbours), sessions, seeds[1]
            )
            share = scalars["loss"] / strategy.num_replicas_in_sync
            (target,) = scaled(learner.optimizer, [share], up=True)
        scalars |= count_false_opposites(opposite, _gather(batch["labels"]))
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
    """Take a batch; return it and the seconds that passed since `after` was known on the host.

    `after` depends on the gradients of the step before, so what is measured is time in which the
    devices had nothing else to do.
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
    # The optimizer sums over replicas once more, which each its share of the sum survives.
    shares = [gradient / replica.num_replicas_in_sync for gradient in clipped]
    optimizer.apply(scaled(optimizer, shares, up=True), learner.trainable_variables)
    return norm


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
