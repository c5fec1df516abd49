"""Encoders: functions that build a Keras model from log-mel tiles to embeddings.

Only stock Keras layers, so that the saved model loads without this code. Batch normalisation is
synchronised over replicas: with local statistics N replicas would learn another model than one.
"""

from collections.abc import Callable

import keras
import numpy as np

from beam_features.schema.dataset_info import Moments
from beam_features.schema.errors import InputError

_SILENT_BIN_VARIANCE = 1e-6  # of a mel bin that never changes


def build_encoder(
    name: str, tile_shape: tuple[int, int], embedding_size: int, moments: Moments, seed: int
) -> keras.Model:
    """Build an untrained encoder ``[batch, tile_frames, n_mels] -> [batch, embedding_size]``.

    Args:
        name: key of `ENCODERS`.
        tile_shape: ``(tile_frames, n_mels)``.
        embedding_size: length of the embedding.
        moments: of the training partitions; each mel bin is normalised with them.
        seed: for the initial weights.

    Raises:
        InputError: there is no encoder of that name.
    """
    check_encoder(name)
    keras.utils.set_random_seed(seed)
    tiles = keras.Input(tile_shape, name="log_mel")
    variance = np.maximum(moments.variance, _SILENT_BIN_VARIANCE)
    normalised = keras.layers.Normalization(
        axis=-1,
        mean=moments.mean.tolist(),
        variance=variance.tolist(),
        dtype="float32",
        name="normalise",
    )(tiles)
    image = keras.layers.Reshape((*tile_shape, 1), name="as_image")(normalised)
    features = ENCODERS[name](image)  # [batch, channels]
    embeddings = keras.layers.Dense(embedding_size, dtype="float32", name="embed")(features)
    return keras.Model(tiles, embeddings, name=name)


def check_encoder(name: str) -> None:
    """Raise an InputError where there is no encoder of that name."""
    if name not in ENCODERS:
        raise InputError(f"unknown encoder {name!r}; choose one of: {', '.join(ENCODERS)}")


def build_projector(embedding_size: int, projection_size: int | None) -> keras.Model:
    """Build the layers between the embedding and the loss; their output has length one.

    The embedding keeps what the loss makes the projection forget (SimCLR, arXiv 2002.05709, sec.
    4.2). Without `projection_size` the loss sees the embedding itself.
    """
    embeddings = x = keras.Input((embedding_size,), name="embedding")
    if projection_size is not None:
        x = keras.layers.ReLU()(x)
        x = keras.layers.Dense(projection_size, dtype="float32", name="project")(x)
    unit = keras.layers.UnitNormalization(dtype="float32", name="unit_length")(x)
    return keras.Model(embeddings, unit, name="projector")


def conv2d(image: keras.KerasTensor) -> keras.KerasTensor:
    """Four 3x3 convolutions of 32 to 256 channels, each with 2x2 pooling, batch norm and ReLU.

    Pooling comes first: what follows then moves a quarter of the memory.
    """
    x = image
    for channels in (32, 64, 128, 256):
        x = _conv(x, channels)
        x = keras.layers.MaxPooling2D(2, padding="same")(x)
        x = keras.layers.ReLU()(_norm(x))
    return _pool(x)


def resnet18(image: keras.KerasTensor) -> keras.KerasTensor:
    """ResNet-18 (arXiv 1512.03385, table 1): four stages of two blocks, 64 to 512 channels."""
    x = _conv_norm(image, 64, size=7, strides=2)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for stage, channels in enumerate((64, 128, 256, 512)):
        x = _basic_block(x, channels, strides=1 if stage == 0 else 2)
        x = _basic_block(x, channels, strides=1)
    return keras.layers.GlobalAveragePooling2D()(x)


def _basic_block(x: keras.KerasTensor, channels: int, strides: int) -> keras.KerasTensor:
    """Two 3x3 convolutions beside a shortcut, projected where the shape changes."""
    residual = _conv_norm(x, channels, strides=strides)
    residual = keras.layers.ReLU()(residual)
    residual = _conv_norm(residual, channels)
    same_shape = strides == 1 and x.shape[-1] == channels
    shortcut = x if same_shape else _conv_norm(x, channels, size=1, strides=strides)
    return keras.layers.ReLU()(keras.layers.Add()([shortcut, residual]))


def _conv_norm(
    x: keras.KerasTensor, channels: int, *, size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    return _norm(_conv(x, channels, size=size, strides=strides))


def _conv(
    x: keras.KerasTensor, channels: int, *, size: int = 3, strides: int = 1
) -> keras.KerasTensor:
    return keras.layers.Conv2D(
        channels, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)


def _norm(x: keras.KerasTensor) -> keras.KerasTensor:
    return keras.layers.BatchNormalization(momentum=0.9, synchronized=True)(x)


def _pool(x: keras.KerasTensor) -> keras.KerasTensor:
    """Mean and maximum over time and frequency: ``[batch, 2 channels]``."""
    mean = keras.layers.GlobalAveragePooling2D()(x)
    peak = keras.layers.GlobalMaxPooling2D()(x)
    return keras.layers.Concatenate()([mean, peak])


ENCODERS: dict[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "conv2d": conv2d,
    "resnet18": resnet18,
}
