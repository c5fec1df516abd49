"""Filling a frame store from shards, several of which are read at the same time."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from beam_features.schema.silence import is_above_silence
from beam_features.schema.strip import LOG_MEL_DTYPE
from dem.errors import InputError
from trainer.data.columns import read_columns
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.store.index import Index, index_columns

_READERS = 8  # more do not help one disk, and each holds a shard in memory

Frames = npt.NDArray[np.float16]


def expected_bytes(features: Features, partitions: Sequence[str]) -> int:
    """Size of the frames of some partitions."""
    spec = features.info.feature_spec
    return bytes_of((_expected_tiles(features, partitions) * spec.tile_frames, spec.n_mels))


def bytes_of(shape: tuple[int, int]) -> int:
    """Size of frames ``[n_frames, n_mels]``."""
    return shape[0] * shape[1] * LOG_MEL_DTYPE.itemsize


def fill(
    features: Features,
    partitions: Sequence[str],
    corrupt: CorruptRecords,
    allocate: Callable[[tuple[int, int]], Frames],
) -> tuple[Frames, Index]:
    """Bring the frames of some partitions into one array.

    Args:
        features: where the shards are.
        partitions: which of them.
        corrupt: records that are skipped.
        allocate: makes an array of a shape for the frames.

    Returns:
        The frames ``[n_frames, n_mels]``, and their index.

    Raises:
        InputError: the shards hold more tiles than `dataset_info.json` counts, or fewer though no
            record is corrupt.
        JobError: more records are corrupt than `corrupt` allows, or the storage fails.
    """
    spec = features.info.feature_spec
    expected = _expected_tiles(features, partitions)
    frames = allocate((expected * spec.tile_frames, spec.n_mels))
    tiles = frames.reshape(expected, *spec.tile_shape)
    uris = features.shard_uris(partitions)
    parts, n_tiles = [], 0
    for columns in read_columns(
        uris, spec.tile_shape, corrupt, parallel=min(_READERS, _cores(), max(len(uris), 1))
    ):
        end = n_tiles + len(columns.labels)
        if end > expected:
            raise _other_count("more than", expected, features, partitions)
        index, order = index_columns(columns, is_above_silence(columns.loudest, spec))
        if order is None:
            tiles[n_tiles:end] = columns.log_mel
        else:  # mode="raise" would need memory for a copy
            np.take(columns.log_mel, order, axis=0, out=tiles[n_tiles:end], mode="clip")
        parts.append(index)
        n_tiles = end
    if n_tiles < expected and not corrupt.places(uris):
        raise _other_count(f"{n_tiles}, not", expected, features, partitions)
    return frames[: n_tiles * spec.tile_frames], Index.join(parts, spec.tile_frames)


def _expected_tiles(features: Features, partitions: Sequence[str]) -> int:
    return sum(features.info.partitions[name].tiles for name in partitions)


def _other_count(
    found: str, expected: int, features: Features, partitions: Sequence[str]
) -> InputError:
    return InputError(
        f"the shards of {', '.join(partitions)} in {features.uri} hold {found} the {expected} "
        "tiles that dataset_info.json counts; copy them again, or make the features again"
    )


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
