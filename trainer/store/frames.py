"""Opening a frame store where it fits: in memory, or on a local disk."""

import logging
import mmap
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dem.errors import InputError
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.runtime.memory import available_memory_bytes
from trainer.store.cache import open_cached
from trainer.store.fill import Frames, bytes_of, expected_bytes, fill
from trainer.store.index import Index

_LOG = logging.getLogger(__name__)

_SHARE = 0.8  # of the available memory: encoder and batches need some, too


@dataclass(frozen=True)
class FrameStore:
    """All frames of some partitions.

    Attributes:
        frames: float16 ``[n_frames, n_mels]``; aligned as TensorFlow requires it.
        index: of the frames.
        place: where they are.
    """

    frames: Frames
    index: Index
    place: Literal["memory", "disk"]


def open_store(
    features: Features,
    partitions: Sequence[str],
    corrupt: CorruptRecords,
    cache_dir: str | None = None,
) -> FrameStore:
    """Bring all frames of some partitions to this host.

    Args:
        features: where the shards are.
        partitions: which of them.
        corrupt: records that are skipped.
        cache_dir: local directory in which the frames are kept and found again; None: they are
            read into memory.

    Raises:
        InputError: the memory is too small; or see `trainer.store.fill.fill`.
        JobError: more records are corrupt than `corrupt` allows, the storage fails, or the disk of
            `cache_dir` is full.
    """
    begin, size = time.monotonic(), expected_bytes(features, partitions)
    if cache_dir is None:
        _require_memory(size, partitions, features.uri)
        frames, index = fill(features, partitions, corrupt, _allocate)
        store = FrameStore(frames, index, "memory")
    else:
        frames, index = open_cached(features, partitions, corrupt, cache_dir)
        store = FrameStore(frames, index, "disk")
    where = "memory" if cache_dir is None else cache_dir
    _LOG.info(
        f"frames of {', '.join(partitions)}: {size / 2**20:.0f} MiB in {where}, "
        f"{time.monotonic() - begin:.1f} s"
    )
    return store


def _require_memory(size: int, partitions: Sequence[str], uri: str) -> None:
    available = available_memory_bytes()
    if available is not None and size > _SHARE * available:
        raise InputError(
            f"the frames of {', '.join(partitions)} in {uri} take {size / 2**30:.1f} GiB, more "
            f"than {_SHARE:.0%} of the {available / 2**30:.1f} GiB of memory that are available; "
            "give --cache-dir a directory on a local disk with so much space"
        )


def _allocate(shape: tuple[int, int]) -> Frames:
    """Allocate whole pages, since TensorFlow uses only aligned memory without a copy."""
    pages = mmap.mmap(-1, max(bytes_of(shape), 1))
    return np.frombuffer(pages, np.float16, shape[0] * shape[1]).reshape(shape)
