"""Input: the batches of a run, divided among hosts and replicas, and the frames they are cut from.

Frames on the devices are cut in the step. Others are cut on the host, ahead of the step.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from trainer.pairs.source import Cut, PairSource
from trainer.runtime.memory import gpu_memory_bytes
from trainer.store.frames import FrameStore

_LOG = logging.getLogger(__name__)

_SHARE = 0.4  # of a GPU's memory that frames may take: model and activations need the rest


@dataclass(frozen=True)
class Input:
    """What the steps of a run take.

    Attributes:
        batches: per replica ``sessions`` ``[n]``, ``labels`` and ``starts`` ``[n, 2]``, and
            ``tiles`` where the host cuts them.
        frames: per replica ``[n_frames, n_mels]``; None: the host cuts the tiles.
    """

    batches: Iterator[Any]
    frames: Any


def open_input(
    strategy: tf.distribute.Strategy, store: FrameStore, pairs: PairSource, steps: tuple[int, int]
) -> Input:
    """Prepare the batches from a first step up to, not including, an end.

    Replica `r` of `R` gets the `r`-th of `R` equal parts of each batch; a host draws only those of
    its own replicas.
    """
    frames = frames_on_devices(strategy, store)
    cut = host_cut(store) if frames is None else None
    n_parts = strategy.num_replicas_in_sync

    def of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        own = n_parts // context.num_input_pipelines
        return pairs.batches(steps, (n_parts, own * context.input_pipeline_id, own), cut)

    return Input(iter(strategy.distribute_datasets_from_function(of_host)), frames)


def frames_on_devices(strategy: tf.distribute.Strategy, store: FrameStore) -> Any:
    """Give each replica the frames on its device; None where they do not fit, or are on a disk.

    A CPU takes those in memory as they are, without a copy.
    """
    limit = gpu_memory_bytes()
    if limit is None and store.place == "disk":
        return None
    if limit is not None and store.frames.nbytes > _SHARE * limit:
        return None
    if limit is not None:
        _LOG.info(f"{store.frames.nbytes / 2**20:.0f} MiB of frames are on each GPU")
    on_host, devices = _as_tensor(store), strategy.extended.worker_devices

    def on_device(context: Any) -> tf.Tensor:
        with tf.device(devices[context.replica_id_in_sync_group % len(devices)]):
            return tf.identity(on_host)

    return strategy.experimental_distribute_values_from_function(on_device)


def host_cut(store: FrameStore) -> Cut:
    """Cut tiles from frames in memory or on a disk."""
    frames, tile_frames = _as_tensor(store), store.index.tile_frames
    return lambda starts: cut_tiles(frames, starts, tile_frames)


def cut_tiles(frames: tf.Tensor, starts: tf.Tensor, tile_frames: int) -> tf.Tensor:
    """Cut tiles out of frames.

    Args:
        frames: ``[n_frames, n_mels]``.
        starts: first frames ``[n, 2]``.
        tile_frames: frames of a tile.

    Returns:
        ``[n, 2, tile_frames, n_mels]``.
    """
    return tf.gather(frames, starts[..., None] + tf.range(tile_frames, dtype=starts.dtype))


def _as_tensor(store: FrameStore) -> tf.Tensor:
    """The frames as a tensor of the same memory."""
    with tf.device("CPU:0"):
        return tf.experimental.dlpack.from_dlpack(store.frames.__dlpack__())
