"""From tiles to vectors: by an encoder, trained or not, or by plain statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.data import Features, tile_batches

_TILES_PER_CALL = 256

Float32 = npt.NDArray[np.float32]
Representation = Callable[[npt.NDArray[np.floating]], Float32]
"""From tiles ``[n, tile_frames, n_mels]`` to vectors ``[n, size]``."""


@dataclass(frozen=True)
class TileTable:
    """Vectors of tiles ``[n, size]`` and, per tile, where it comes from and its label."""

    vectors: Float32
    recording_ids: npt.NDArray[np.str_]
    session_ids: npt.NDArray[np.str_]
    start_ms: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]

    def select(self, rows: npt.NDArray[np.bool_]) -> "TileTable":
        """Keep the rows where `rows` ``[n]`` is true."""
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self)}
        return TileTable(**columns)


def as_representation(encoder: keras.Model) -> Representation:
    """Wrap an encoder for inference: no dropout, no augmentation, moving statistics."""
    signature = tf.TensorSpec((None, *encoder.input_shape[1:]), tf.float32)
    forward = tf.function(lambda tiles: encoder(tiles, training=False), input_signature=[signature])
    return lambda tiles: forward(tiles.astype(np.float32)).numpy()


def log_mel_statistics(tiles: npt.NDArray[np.floating]) -> Float32:
    """Mean and standard deviation over time of each mel bin: ``[n, 2 * n_mels]``."""
    values = tiles.astype(np.float32)
    return np.concatenate([values.mean(axis=1), values.std(axis=1)], axis=1)


def represent_all(represent: Representation, tiles: npt.NDArray[np.floating]) -> Float32:
    """Represent many tiles, at least one, a block at a time."""
    starts = range(0, len(tiles), _TILES_PER_CALL)
    return np.concatenate([represent(tiles[start : start + _TILES_PER_CALL]) for start in starts])


def tile_table(
    features: Features, partitions: Sequence[str], represent: Representation
) -> TileTable:
    """Represent every tile of the partitions."""
    vectors, columns = [], []
    for batch in tile_batches(features, partitions).as_numpy_iterator():
        vectors.append(represent(batch.pop("log_mel")))
        columns.append(batch)
    merged = {name: np.concatenate([part[name] for part in columns]) for name in columns[0]}
    return TileTable(
        vectors=np.concatenate(vectors),
        recording_ids=np.char.decode(merged["recording_id"].astype(np.bytes_), "utf-8"),
        session_ids=np.char.decode(merged["session_id"].astype(np.bytes_), "utf-8"),
        start_ms=merged["start_ms"],
        labels=merged["label"],
    )
