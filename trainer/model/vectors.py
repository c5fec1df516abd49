"""From tiles to vectors: by an encoder, trained or not, or by plain statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.data.features import Features
from trainer.data.tiles import first_batches, tile_batches

_TILES_PER_CALL = 256

Float32 = npt.NDArray[np.float32]
Representation = Callable[[npt.NDArray[np.floating]], Float32]
"""From tiles ``[n, tile_frames, n_mels]`` to vectors ``[n, size]``."""


@dataclass(frozen=True)
class VectorTable:
    """Vectors ``[n, size]`` of tiles or recordings and, per row, where it comes from, its label.

    A row of a recording has the start of its first tile and is audible where one of its tiles is.
    """

    vectors: Float32
    recording_ids: npt.NDArray[np.str_]
    context_ids: npt.NDArray[np.str_]
    session_ids: npt.NDArray[np.str_]
    start_ms: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    audible: npt.NDArray[np.bool_]

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> "VectorTable":
        """Keep the rows where `rows` ``[n]`` is true, or those it numbers."""
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return VectorTable(**columns)

    @property
    def labelled(self) -> "VectorTable":
        """The rows with a label."""
        return self.select(self.labels >= 0)


def as_representation(encoder: keras.Model) -> Representation:
    """Wrap an encoder for inference: no dropout, no augmentation, moving statistics."""
    signature = tf.TensorSpec((None, *encoder.input_shape[1:]), tf.float32)
    forward = tf.function(lambda tiles: encoder(tiles, training=False), input_signature=[signature])
    return lambda tiles: forward(tiles.astype(np.float32)).numpy()


def log_mel_statistics(tile_shape: tuple[int, int]) -> keras.Model:
    """Build what `none` has for an encoder: mean and standard deviation of each mel bin over time.

    Its output is ``[batch, 2 * n_mels]``. It consists of stock operations, as encoders do.
    """
    tiles = keras.Input(tile_shape, name="log_mel")
    moments = [keras.ops.mean(tiles, axis=1), keras.ops.std(tiles, axis=1)]
    return keras.Model(tiles, keras.ops.concatenate(moments, axis=1), name="log_mel_statistics")


def represent_all(represent: Representation, tiles: npt.NDArray[np.floating]) -> Float32:
    """Represent many tiles, at least one, a block at a time."""
    starts = range(0, len(tiles), _TILES_PER_CALL)
    return np.concatenate([represent(tiles[start : start + _TILES_PER_CALL]) for start in starts])


def tile_table(
    features: Features,
    partitions: Sequence[str],
    represent: Representation,
    most_tiles: int | None = None,
) -> VectorTable:
    """Represent every tile of the partitions, or the first of each until there are `most_tiles`.

    Shards hold their contexts in the order of a hash, so the first tiles are a fair sample.
    """
    vectors: list[Float32] = []
    columns: dict[str, list[Any]] = {field.name: [] for field in fields(VectorTable)[1:]}
    batches = (
        tile_batches(features, partitions)
        if most_tiles is None
        else first_batches(features, partitions, most_tiles)
    )
    for batch in batches:
        vectors.append(represent(batch.log_mel))
        for name, values in columns.items():
            values.extend(getattr(batch, name))
    return VectorTable(np.concatenate(vectors), **{k: np.array(v) for k, v in columns.items()})


def recording_table(tiles: VectorTable) -> VectorTable:
    """One vector per recording ``[n, 2 * size]``: mean and maximum over its audible tiles.

    Digital silence is the same vector in all recordings, and how much of it surrounds a sound says
    little about the sound. A recording without an audible tile has those of all its tiles. Rows are
    ordered by recording id; the label is that of the first tile.
    """
    _, first, rows = np.unique(tiles.recording_ids, return_index=True, return_inverse=True)
    heard = np.bincount(rows, tiles.audible) > 0
    used = np.flatnonzero(tiles.audible | ~heard[rows])
    used = used[np.argsort(rows[used], kind="stable")]
    starts = np.flatnonzero(np.diff(rows[used], prepend=-1))
    counts = np.bincount(rows[used])[:, None]
    mean = np.add.reduceat(tiles.vectors[used], starts) / counts
    peak = np.maximum.reduceat(tiles.vectors[used], starts)
    vectors = np.concatenate([mean, peak], axis=1).astype(np.float32)
    return replace(tiles.select(first), vectors=vectors, audible=heard)
