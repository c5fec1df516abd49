"""Augmentation of log-mel tiles: pure functions of tiles and uniform random numbers.

The random numbers are an argument, one row per tile of the global batch, so that two replicas
augment each tile exactly as one would. Powers are natural logarithms; 1 unit is 4.3 dB. It is
part of the training step, not of the exported encoder.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from dem.errors import InputError
from trainer.choices import AUGMENTATIONS

N_DRAWS = 13  # per tile; an augmentation has the same columns whichever others are chosen
_MAX_GAIN = 1.0
_EQUALISER_WAVES = 3  # half periods over the mel axis: 1, 2 and 3
_EQUALISER_AMPLITUDE = 2.0  # the highest of each
_TIME_SHARE, _MEL_SHARE = 0.25, 0.2  # longest mask, as a share of the axis
_TIME_SHIFT_SHARE, _MEL_SHIFT_SHARE = 0.1, 10 / 64  # Jansen et al.: up to 10 of 64 bins
_NOISE_BELOW = (1.0, 6.0)  # how far the mean power of the noise is below the tile's
_MIX_BELOW = (
    1.4,
    6.0,
)  # the same for another tile; Jansen et al.: a quarter of the energy, 1.4 units
_NOISE_FRAMES = 4096  # length of the noise from which tiles get random pieces


@dataclass(frozen=True)
class Batch:
    """Tiles of pairs, and the random numbers for them.

    Attributes:
        tiles: anchors, then neighbours ``[2 n, tile_frames, n_mels]``.
        masked: values that are masked at the end; booleans of the shape of `tiles`.
        sessions: of the pairs ``[n]``.
        draws: uniform in [0, 1) ``[2 n, N_DRAWS]``.
    """

    tiles: tf.Tensor
    masked: tf.Tensor
    sessions: tf.Tensor
    draws: tf.Tensor


def augment_pairs(
    names: Collection[str],
    anchors: tf.Tensor,
    neighbours: tf.Tensor,
    sessions: tf.Tensor,
    draws: tf.Tensor,
) -> tf.Tensor:
    """Augment the tiles of pairs, in the order of `trainer.choices.AUGMENTATIONS`.

    Args:
        names: which augmentations, as in `TrainConfig.augment`.
        anchors: float32 ``[n, tile_frames, n_mels]``; an even number for ``mix``.
        neighbours: the same shape.
        sessions: ``[n]``.
        draws: uniform in [0, 1) ``[2, n, N_DRAWS]``, for anchors and neighbours.

    Returns:
        Anchors, then neighbours ``[2 n, tile_frames, n_mels]``.
    """
    tiles = tf.concat([anchors, neighbours], axis=0)
    masked = tf.zeros_like(tiles, tf.bool)
    batch = Batch(tiles, masked, sessions, tf.concat(tf.unstack(draws), axis=0))
    for name in AUGMENTATIONS:
        if name in names:
            batch = AUGMENTATIONS[name](batch)
    return hide(batch.tiles, batch.masked)


def mix_neighbours(batch: Batch) -> Batch:
    """Mix neighbours with anchors of another session.

    Rows 2 i and 2 i + 1 are mixed with each other's anchors. Only neighbours are mixed, so that the
    two tiles of a pair do not share the added sound.
    """
    anchors, neighbours = tf.split(batch.tiles, 2)
    foreign = batch.sessions != _swapped(batch.sessions)
    mixed = mix(neighbours, _swapped(anchors), tf.split(batch.draws, 2)[1][:, 2])
    neighbours = tf.where(foreign[:, None, None], mixed, neighbours)
    return replace(batch, tiles=tf.concat([anchors, neighbours], axis=0))


def shift_tiles(batch: Batch) -> Batch:
    """Shift each tile in time and mel."""
    return replace(batch, tiles=shift(batch.tiles, batch.draws[:, 0], batch.draws[:, 1]))


def add_noise_to_tiles(batch: Batch) -> Batch:
    """Add noise to each tile."""
    return replace(batch, tiles=add_noise(batch.tiles, batch.draws[:, 3], batch.draws[:, 4]))


def change_gain(batch: Batch) -> Batch:
    """Change the level of each tile."""
    return replace(batch, tiles=change_level(batch.tiles, batch.draws[:, 5]))


def equalise_tiles(batch: Batch) -> Batch:
    """Filter each tile."""
    return replace(batch, tiles=equalise(batch.tiles, batch.draws[:, 10:13]))


def mask_time(batch: Batch) -> Batch:
    """Mask a span of the frames of each tile."""
    frames = _span(batch.draws[:, 6], batch.draws[:, 7], batch.tiles.shape[1], _TIME_SHARE)
    return replace(batch, masked=batch.masked | frames[:, :, None])


def mask_mels(batch: Batch) -> Batch:
    """Mask a span of the mel bins of each tile."""
    mels = _span(batch.draws[:, 8], batch.draws[:, 9], batch.tiles.shape[2], _MEL_SHARE)
    return replace(batch, masked=batch.masked | mels[:, None, :])


def check_mixing(names: Collection[str], batch_size: int, replicas: int) -> None:
    """Raise an InputError where replicas would have rows without a row to mix with."""
    if "mix" in names and batch_size % (2 * replicas):
        raise InputError(
            f"batch_size={batch_size} is no multiple of {2 * replicas}, as mixing on {replicas} "
            "replicas needs; change it or take mix from augment"
        )


def shift(tiles: tf.Tensor, in_time: tf.Tensor, in_mel: tf.Tensor) -> tf.Tensor:
    """Move tiles by up to a tenth of their frames and by up to 10 of 64 mel bins, either way.

    As in Jansen et al. 2018 (arXiv 1711.02209), frames go round and bins that come in from beyond
    the mel range are silent: as quiet as the quietest of the tile. Theirs go round by any number of
    frames; here anchors are cut at any frame already.

    Args:
        tiles: ``[n, tile_frames, n_mels]``.
        in_time: uniform in [0, 1) ``[n]``; 0.5 is no shift.
        in_mel: the same.
    """
    n_frames, n_mels = tiles.shape[1], tiles.shape[2]
    frames = tf.range(n_frames)[None, :] - _either_way(in_time, n_frames, _TIME_SHIFT_SHARE)
    mels = tf.range(n_mels)[None, :] - _either_way(in_mel, n_mels, _MEL_SHIFT_SHARE)
    moved = tf.gather(tiles, frames % n_frames, batch_dims=1)
    moved = tf.gather(moved, tf.clip_by_value(mels, 0, n_mels - 1), axis=2, batch_dims=1)
    within = (mels >= 0) & (mels < n_mels)
    return tf.where(within[:, None, :], moved, tf.reduce_min(tiles, axis=[1, 2], keepdims=True))


def mix(tiles: tf.Tensor, others: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Add to the power of each tile that of another, whose mean is 1.4 to 6 units below its own.

    What holds of a sound holds of its mixture with another (Jansen et al. 2018, sec. 2; they mix at
    a quarter of the energy).
    """
    below = _MIX_BELOW[0] + (_MIX_BELOW[1] - _MIX_BELOW[0]) * draws[:, None, None]
    return _log_add(tiles, others + _log_mean(tiles) - _log_mean(others) - below)


def add_noise(tiles: tf.Tensor, level: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
    """Add the power of white noise, 1 to 6 units below the tile's mean power.

    Each tile takes a piece from anywhere of one strip of noise: the power of complex Gaussian bins
    is exponentially distributed. So replicas need not draw numbers for tiles of others.
    """
    n_frames, n_mels = tiles.shape[1], tiles.shape[2]
    noise = np.random.default_rng(0).exponential(1.0, (_NOISE_FRAMES + n_frames, n_mels))
    strip = tf.constant(np.log(np.maximum(noise, 1e-6)), tiles.dtype)
    first = tf.cast(place * _NOISE_FRAMES, tf.int32)
    pieces = tf.gather(strip, first[:, None] + tf.range(n_frames))
    below = _NOISE_BELOW[0] + (_NOISE_BELOW[1] - _NOISE_BELOW[0]) * level[:, None, None]
    return _log_add(tiles, pieces + _log_mean(tiles) - below)


def change_level(tiles: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Change the level by up to one log unit, either way."""
    return tiles + (2.0 * draws[:, None, None] - 1.0) * _MAX_GAIN


def equalise(tiles: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Add a smooth curve over the mel axis, as another microphone or room would.

    It is the sum of three cosines of 1, 2 and 3 half periods with amplitudes of up to two log
    units, either way.

    Args:
        tiles: ``[n, tile_frames, n_mels]``.
        draws: uniform in [0, 1) ``[n, 3]``; 0.5 is no amplitude.
    """
    n_mels = tiles.shape[2]
    phase = np.pi * (np.arange(n_mels) + 0.5) / n_mels
    waves = np.cos(np.arange(1, _EQUALISER_WAVES + 1)[:, None] * phase)  # [3, n_mels]
    amplitudes = (2.0 * draws - 1.0) * _EQUALISER_AMPLITUDE
    return tiles + tf.matmul(amplitudes, tf.constant(waves, tiles.dtype))[:, None, :]


def hide(tiles: tf.Tensor, masked: tf.Tensor) -> tf.Tensor:
    """Put the tile's mean where it is masked (SpecAugment, arXiv 1904.08779)."""
    return tf.where(masked, tf.reduce_mean(tiles, axis=[1, 2], keepdims=True), tiles)


def _span(length: tf.Tensor, start: tf.Tensor, size: int, share: float) -> tf.Tensor:
    """Boolean ``[batch, size]``: a span of at most `share` of the axis, anywhere in it."""
    length = length * share * size
    begin = start * (size - length)
    position = tf.range(size, dtype=tf.float32)[None, :] + 0.5
    return (position >= begin[:, None]) & (position < (begin + length)[:, None])


def _either_way(draws: tf.Tensor, size: int, share: float) -> tf.Tensor:
    """Whole numbers ``[n, 1]``, uniform from minus to plus `share` of `size`."""
    farthest = int(share * size)
    return tf.cast(tf.floor(draws * (2 * farthest + 1)), tf.int32)[:, None] - farthest


def _swapped(rows: tf.Tensor) -> tf.Tensor:
    """Rows 1, 0, 3, 2 and so on."""
    return tf.gather(rows, tf.bitwise.bitwise_xor(tf.range(tf.shape(rows)[0]), 1))


def _log_mean(tiles: tf.Tensor) -> tf.Tensor:
    """Logarithm of the mean power ``[n, 1, 1]``."""
    n_values = tiles.shape[1] * tiles.shape[2]
    return tf.reduce_logsumexp(tiles, axis=[1, 2], keepdims=True) - np.log(n_values)


def _log_add(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Logarithm of the sum of powers."""
    return tf.maximum(left, right) + tf.math.log1p(tf.exp(-tf.abs(left - right)))
