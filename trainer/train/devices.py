"""Devices: which GPUs, or parts of a CPU, a run computes on."""

import contextlib

import keras
import tensorflow as tf

from dem.errors import InputError
from trainer.config import ResolvedConfig
from trainer.model.precision import check_jit, warnings_about
from trainer.train.tf_config import read_cluster


def make_strategy(replicas: int | None, batch_size: int) -> tf.distribute.Strategy:
    """Replicate over all GPUs of all hosts, or over `replicas` devices of one host.

    A host without a GPU has one replica. If it is the only host, `replicas` logical CPUs also work.

    Raises:
        InputError: there are fewer devices than replicas, or `batch_size` is not divisible by them.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with contextlib.suppress(RuntimeError):  # TensorFlow has already started
            tf.config.experimental.set_memory_growth(gpu, True)  # noqa: FBT003 - TensorFlow's API
    workers = read_cluster().workers
    if workers == 1:
        kind, wanted = ("GPU", replicas or len(gpus)) if gpus else ("CPU", replicas or 1)
    else:
        kind, wanted = ("GPU", workers * len(gpus)) if gpus else ("CPU", workers)
    if batch_size % wanted:
        raise InputError(
            f"batch_size={batch_size} is not divisible by {wanted} replicas; change one"
        )
    if workers > 1:
        if replicas not in (None, wanted):
            raise InputError(
                f"replicas={replicas}, but {workers} workers have {wanted} devices; omit replicas, "
                "which is for a single host"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    if not gpus and wanted > 1:
        _split_cpu(wanted)
    available = len(tf.config.list_logical_devices(kind))
    if wanted > available:
        raise InputError(f"replicas={wanted}, but found {available} {kind} devices; lower replicas")
    if wanted == 1:  # allows XLA with synchronised batch norm: there is nothing to synchronise
        return tf.distribute.OneDeviceStrategy(f"{kind}:0")
    return tf.distribute.MirroredStrategy([f"{kind}:{index}" for index in range(wanted)])


def device_names(strategy: tf.distribute.Strategy) -> list[str]:
    """Short names such as ``GPU:0`` of this host's devices."""
    names = strategy.extended.worker_devices
    return [name.rpartition("device:")[2] for name in names]


def check_devices(
    config: ResolvedConfig, encoder: keras.Model, strategy: tf.distribute.Strategy
) -> list[str]:
    """Refuse what the devices cannot do; return warnings of what is slow on them.

    Raises:
        InputError: see `trainer.model.precision.check_jit`.
    """
    if config.jit_compile:
        check_jit(encoder, strategy.num_replicas_in_sync)
    on_gpu = any(name.startswith("GPU") for name in device_names(strategy))
    return warnings_about(config.precision, on_gpu=on_gpu)


def _split_cpu(parts: int) -> None:
    """Make logical CPUs; if TensorFlow has already started, the devices stay as they are."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    with contextlib.suppress(RuntimeError):
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * parts
        )
