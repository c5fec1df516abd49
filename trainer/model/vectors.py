"""From tiles to vectors: by an encoder, trained or not, or by plain statistics."""

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

_TILES_PER_CALL = 256

Float32 = npt.NDArray[np.float32]
Representation = Callable[[npt.NDArray[np.floating]], Float32]
"""From tiles ``[n, tile_frames, n_mels]`` to vectors ``[n, size]``."""


def as_representation(encoder: keras.Model) -> Representation:
    """Wrap an encoder for inference: no dropout, no augmentation, moving statistics."""
    signature = tf.TensorSpec((None, *encoder.input_shape[1:]), tf.float32)
    forward = tf.function(lambda tiles: encoder(tiles, training=False), input_signature=[signature])
    return lambda tiles: forward(tiles.astype(np.float32)).numpy()


def log_mel_statistics(tile_shape: tuple[int, int]) -> keras.Model:
    """Build the encoder of `none`: mean and standard deviation of each mel bin over time.

    Its output is ``[batch, 2 * n_mels]``. It consists of stock operations, as encoders do.
    """
    tiles = keras.Input(tile_shape, name="log_mel")
    return keras.Model(tiles, log_mel_moments(tiles), name="log_mel_statistics")


def log_mel_moments(tiles: keras.KerasTensor) -> keras.KerasTensor:
    """Mean and standard deviation of each mel bin over time: ``[batch, 2 * n_mels]``."""
    moments = [keras.ops.mean(tiles, axis=1), keras.ops.std(tiles, axis=1)]
    return keras.ops.concatenate(moments, axis=1)


def represent_all(represent: Representation, tiles: npt.NDArray[np.floating]) -> Float32:
    """Represent many tiles, at least one, a block at a time."""
    starts = range(0, len(tiles), _TILES_PER_CALL)
    return np.concatenate([represent(tiles[start : start + _TILES_PER_CALL]) for start in starts])
