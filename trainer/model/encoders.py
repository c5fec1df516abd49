"""Encoders: functions that build a Keras model from log-mel tiles to embeddings.

An encoder is an `Encoder`, named in `trainer.choices.ENCODERS` or by a user as ``module:function``.

Only stock Keras layers, so that the saved model loads without this code. Batch normalisation is
synchronised over replicas, and there is no dropout: with local statistics, or random numbers of
their own, N replicas would learn another model than one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from beam_features.schema.dataset_info import Moments
from dem.errors import InputError
from trainer.choices import ENCODERS
from trainer.config import Architecture

_SILENT_BIN_VARIANCE = 1e-6  # of a mel bin that never changes
_NORM_MOMENTUM = 0.9
_PREBUILT_SIDE = 32  # of the smallest tiles that the models of keras.applications take

Encoder = Callable[[keras.KerasTensor, Architecture], keras.KerasTensor]
"""Normalised tiles ``[batch, tile_frames, n_mels]`` -> pooled values ``[batch, size]``.

It uses the width and depth of the architecture, or is marked with `fixed`. With `centring` it gets
``[batch, tile_frames, n_mels, 2]``: the values, and their differences from the mean of the bin.
"""
Block = Callable[[keras.KerasTensor, int, int], keras.KerasTensor]
"""Residual block of a ResNet: input, channels, strides -> output."""


def build_encoder(
    architecture: Architecture,
    tile_shape: tuple[int, int],
    embedding_size: int | None,
    moments: Moments,
    seed: int,
) -> keras.Model:
    """Build an untrained encoder ``[batch, tile_frames, n_mels] -> [batch, embedding_size]``.

    Args:
        architecture: which encoder.
        tile_shape: ``(tile_frames, n_mels)``.
        embedding_size: length of the embedding; None: what the encoder pools is the embedding.
        moments: of the training partitions; each mel bin is normalised with them.
        seed: for the initial weights.

    Raises:
        InputError: see `check_encoder`.
    """
    check_encoder(architecture, tile_shape)
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
    channels = _with_centred(normalised) if architecture.centring else normalised
    features = ENCODERS[architecture.name](channels, architecture)  # [batch, size]
    if embedding_size is None:
        embed = keras.layers.Activation("linear", dtype="float32", name="embed")
    else:
        embed = keras.layers.Dense(embedding_size, dtype="float32", name="embed")
    embeddings = embed(features)
    return keras.Model(tiles, embeddings, name=architecture.name.rpartition(":")[2])


def fixed(
    *, depth: bool = False, width: bool = False, smallest_side: int = 1
) -> Callable[[Encoder], Encoder]:
    """Mark an encoder that has a depth or a width of its own, or needs tiles of some size."""

    def mark(encoder: Encoder) -> Encoder:
        encoder.limits = _Limits(depth, width, smallest_side)  # type: ignore[attr-defined]
        return encoder

    return mark


@dataclass(frozen=True)
class _Limits:
    depth: bool = False
    width: bool = False
    smallest_side: int = 1


def check_encoder(architecture: Architecture, tile_shape: tuple[int, int]) -> None:
    """Check that the encoder exists and takes such tiles.

    Raises:
        InputError: there is no encoder of that name and size, or the tiles are too small for it.
    """
    name = architecture.name
    limits = _limits(name)
    if limits.depth and architecture.depth is not None:
        others = ", ".join(other for other in ENCODERS if not _limits(other).depth)
        raise InputError(
            f"encoder_depth={architecture.depth}, but {name!r} has a depth of its own; set "
            f"encoder_depth=null, or choose one of: {others}"
        )
    if limits.width and architecture.width != 1:
        raise InputError(
            f"encoder_width={architecture.width}, but {name!r} has one width; set encoder_width=1"
        )
    if min(tile_shape) < limits.smallest_side:
        raise InputError(
            f"encoder {name!r} takes tiles of at least {limits.smallest_side} frames and as many "
            f"mel bins, and these have {tile_shape[0]} x {tile_shape[1]}; choose another encoder, "
            "or make features with larger tiles"
        )


def _limits(name: str) -> _Limits:
    limits: _Limits = getattr(ENCODERS[name], "limits", _Limits())
    return limits


def build_projector(
    embedding_size: int,
    projection_size: int | None,
    hidden: int | None = None,
    *,
    unit_length: bool = True,
) -> keras.Model:
    """Build the layers between the embedding and the loss.

    The embedding keeps what the loss makes the projection forget (SimCLR, arXiv 2002.05709, sec.
    4.2).

    Args:
        embedding_size: of the input.
        projection_size: of the output; None: the loss sees the embedding itself.
        hidden: size of a layer before the projection; None: no such layer.
        unit_length: whether the output has length one; if not, there is batch norm before the ReLU,
            as in the heads of losses without opposites.
    """
    embeddings = x = keras.Input((embedding_size,), name="embedding")
    if hidden is not None:
        x = keras.layers.Dense(hidden, dtype="float32", name="hidden")(x)
    if projection_size is not None:
        x = keras.layers.ReLU()(x if unit_length else _norm(x))
        x = keras.layers.Dense(projection_size, dtype="float32", name="project")(x)
    if unit_length:
        x = keras.layers.UnitNormalization(dtype="float32", name="unit_length")(x)
    return keras.Model(embeddings, x, name="projector")


def dense(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Two dense layers of 512 on all values of a tile, each with batch norm and ReLU.

    The only encoder that minds where in a tile something happens.
    """
    x = keras.layers.Flatten()(tiles)
    units = architecture.widen(512)
    for _ in range(architecture.depth or 2):
        x = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal")(x)
        x = keras.layers.ReLU()(_norm(x))
    return x


def conv1d(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Four convolutions over 3 frames, mel bins being channels, each with pooling over 2 frames."""
    x = _as_frames(tiles)
    for layer in range(architecture.depth or 4):
        channels = architecture.widen(128 if layer < 2 else 256)
        x = keras.layers.Conv1D(
            channels, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        x = keras.layers.MaxPooling1D(2, padding="same")(x)
        x = keras.layers.ReLU()(_norm(x))
    return _pool_frames(x)


def conv2d(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Four 3x3 convolutions of 32 to 256 channels, each with 2x2 pooling, batch norm and ReLU."""
    x = _convolutions(_as_image(tiles), architecture, architecture.depth or 4)
    mean = keras.layers.GlobalAveragePooling2D()(x)
    peak = keras.layers.GlobalMaxPooling2D()(x)
    return keras.layers.Concatenate()([mean, peak])  # [batch, 2 channels]


def gru(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Two layers of 256 gated recurrent units over the frames."""
    x = _as_frames(tiles)
    for _ in range(architecture.depth or 2):
        x = _gru(x, architecture)
    return _pool_frames(x)


def conv_gru(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Three convolutions as in `conv2d`, then 256 gated recurrent units over time.

    A convolutional recurrent network, arXiv 1609.04243.
    """
    x = _convolutions(_as_image(tiles), architecture, architecture.depth or 3)
    return _pool_frames(_gru(_flat_frames(x), architecture))


def conv_dense(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """Four convolutions as in `conv2d`, then a dense layer of 512 on each frame of the result.

    It tells at which frequency something is, where `conv2d` averages over frequency: the design of
    BYOL-A's second encoder (arXiv 2204.07402, sec. IV-B), of other sizes and without dropout.
    """
    x = _flat_frames(_convolutions(_as_image(tiles), architecture, architecture.depth or 4))
    units = architecture.widen(512)
    x = keras.layers.Dense(units, use_bias=False, kernel_initializer="he_normal")(x)
    return _pool_frames(keras.layers.ReLU()(_norm(x)))


@fixed(depth=True)
def resnet18(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """ResNet-18 (arXiv 1512.03385, table 1)."""
    return _resnet(tiles, architecture, _basic_block, (2, 2, 2, 2))


@fixed(depth=True)
def resnet34(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """ResNet-34."""
    return _resnet(tiles, architecture, _basic_block, (3, 4, 6, 3))


@fixed(depth=True)
def resnet50(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """ResNet-50."""
    return _resnet(tiles, architecture, _bottleneck_block, (3, 4, 6, 3))


@fixed(depth=True)
def resnet101(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """ResNet-101."""
    return _resnet(tiles, architecture, _bottleneck_block, (3, 4, 23, 3))


@fixed(depth=True)
def resnet152(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """ResNet-152."""
    return _resnet(tiles, architecture, _bottleneck_block, (3, 8, 36, 3))


@fixed(depth=True, width=True, smallest_side=_PREBUILT_SIDE)
def mobilenet_v3_small(tiles: keras.KerasTensor, _: Architecture) -> keras.KerasTensor:
    """MobileNetV3-Small (arXiv 1905.02244, table 2)."""
    return _prebuilt(keras.applications.MobileNetV3Small, tiles)


@fixed(depth=True, width=True, smallest_side=_PREBUILT_SIDE)
def efficientnet_v2_b0(tiles: keras.KerasTensor, _: Architecture) -> keras.KerasTensor:
    """EfficientNetV2-B0 (arXiv 2104.00298)."""
    return _prebuilt(keras.applications.EfficientNetV2B0, tiles)


def _as_image(tiles: keras.KerasTensor) -> keras.KerasTensor:
    """Give tiles a last axis of channels: ``[batch, frames, mels, channels]``."""
    _, frames, mels, *_ = tiles.shape
    return keras.layers.Reshape((frames, mels, -1), name="as_image")(tiles)


def _as_frames(tiles: keras.KerasTensor) -> keras.KerasTensor:
    """Take channels for further mel bins: ``[batch, frames, mels * channels]``."""
    return keras.layers.Reshape((tiles.shape[1], -1), name="as_frames")(tiles)


def _with_centred(tiles: keras.KerasTensor) -> keras.KerasTensor:
    """Put beside each value its difference from the mean of its mel bin over the tile.

    The frequency response of a microphone adds a constant to each bin of log-mel, so it is not in
    the difference (cepstral mean subtraction is the same for cepstra; B. Atal, JASA 55, 1974).
    """
    centred = keras.ops.subtract(tiles, keras.ops.mean(tiles, axis=1, keepdims=True))
    return keras.ops.stack([tiles, centred], axis=-1)


def _flat_frames(image: keras.KerasTensor) -> keras.KerasTensor:
    """``[batch, frames, mels, channels] -> [batch, frames, mels * channels]``."""
    _, frames, mels, channels = image.shape
    return keras.layers.Reshape((frames, mels * channels))(image)


def _convolutions(
    image: keras.KerasTensor, architecture: Architecture, depth: int
) -> keras.KerasTensor:
    """3x3 convolutions of 32, 64, 128… channels, each with 2x2 pooling, batch norm and ReLU.

    Pooling comes first: what follows then moves a quarter of the memory.
    """
    x = image
    for layer in range(depth):
        channels = architecture.widen(32 * 2**layer)
        x = keras.layers.MaxPooling2D(2, padding="same")(_conv(x, channels))
        x = keras.layers.ReLU()(_norm(x))
    return x


def _gru(frames: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """``[batch, frames, size] -> [batch, frames, 256]``.

    Keras' defaults are what cuDNN can compute; recurrent dropout, above all, is not.
    """
    return keras.layers.GRU(architecture.widen(256), return_sequences=True)(frames)


def _resnet(
    tiles: keras.KerasTensor, architecture: Architecture, block: Block, repeats: Sequence[int]
) -> keras.KerasTensor:
    """Four stages of blocks of 64 to 512 channels; every stage but the first halves the image."""
    x = _conv_norm(_as_image(tiles), architecture.widen(64), size=7, strides=2)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for stage, n_blocks in enumerate(repeats):
        for index in range(n_blocks):
            x = block(x, architecture.widen(64 * 2**stage), 2 if stage > 0 and index == 0 else 1)
    return keras.layers.GlobalAveragePooling2D()(x)


def _basic_block(x: keras.KerasTensor, channels: int, strides: int) -> keras.KerasTensor:
    """Two 3x3 convolutions beside a shortcut."""
    residual = keras.layers.ReLU()(_conv_norm(x, channels, strides=strides))
    residual = _conv_norm(residual, channels)
    return _add_shortcut(x, residual, strides)


def _bottleneck_block(x: keras.KerasTensor, channels: int, strides: int) -> keras.KerasTensor:
    """1x1, 3x3 and 1x1 convolutions, the last to four times the channels, beside a shortcut.

    The 3x3 convolution strides, so that no value is passed over ("ResNet v1.5", as in torchvision).
    """
    residual = keras.layers.ReLU()(_conv_norm(x, channels, size=1))
    residual = keras.layers.ReLU()(_conv_norm(residual, channels, strides=strides))
    residual = _conv_norm(residual, 4 * channels, size=1)
    return _add_shortcut(x, residual, strides)


def _add_shortcut(
    x: keras.KerasTensor, residual: keras.KerasTensor, strides: int
) -> keras.KerasTensor:
    """Add a block's input to its residual, projected where the shape changes, before the ReLU."""
    channels = residual.shape[-1]
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
    return keras.layers.BatchNormalization(momentum=_NORM_MOMENTUM, synchronized=True)(x)


def _pool_frames(x: keras.KerasTensor) -> keras.KerasTensor:
    """Mean and maximum over time: ``[batch, frames, channels] -> [batch, 2 channels]``."""
    mean = keras.layers.GlobalAveragePooling1D()(x)
    peak = keras.layers.GlobalMaxPooling1D()(x)
    return keras.layers.Concatenate()([mean, peak])


def _prebuilt(build: Callable[..., keras.Model], tiles: keras.KerasTensor) -> keras.KerasTensor:
    """Apply a model of keras.applications, untrained, with our batch norm and without dropout."""
    image = _as_image(tiles)
    model = build(
        include_top=False,
        weights=None,
        input_shape=image.shape[1:],
        pooling="avg",
        include_preprocessing=False,  # it expects pixels
    )
    return keras.models.clone_model(model, clone_function=_adapt)(image)


def _adapt(layer: keras.Layer) -> keras.Layer:
    """Copy a layer of a prebuilt model, changed as the top of this module says."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        config |= {"momentum": _NORM_MOMENTUM, "synchronized": True}
    elif isinstance(layer, keras.layers.Dropout):
        config |= {"rate": 0.0}
    return type(layer).from_config(config)
