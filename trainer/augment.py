"""Augmentation of log-mel tiles: pure functions of tiles and uniform random numbers.

The numbers come in as an argument, one row per tile of the global batch, so that two replicas
augment each tile exactly as one would.
"""

import tensorflow as tf

N_DRAWS = 5
_MAX_GAIN = 1.0  # natural-log power units: 4.3 dB
_TIME_SHARE, _MEL_SHARE = 0.25, 0.2  # longest mask, as a share of the axis


def augment(tiles: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Change the level, hide a span of time and a band of mels (SpecAugment, arXiv 1904.08779).

    Args:
        tiles: float32 ``[batch, tile_frames, n_mels]``, natural-log power.
        draws: uniform in [0, 1) ``[batch, N_DRAWS]``.
    """
    gain = (2.0 * draws[:, 0, None, None] - 1.0) * _MAX_GAIN
    mean = tf.reduce_mean(tiles, axis=[1, 2], keepdims=True)
    in_time = _span(draws[:, 1], draws[:, 2], tiles.shape[1], _TIME_SHARE)[:, :, None]
    in_mel = _span(draws[:, 3], draws[:, 4], tiles.shape[2], _MEL_SHARE)[:, None, :]
    return tf.where(in_time | in_mel, mean, tiles) + gain


def _span(length: tf.Tensor, start: tf.Tensor, size: int, share: float) -> tf.Tensor:
    """Boolean ``[batch, size]``: a span of at most `share` of the axis, anywhere in it."""
    length = length * share * size
    begin = start * (size - length)
    position = tf.range(size, dtype=tf.float32)[None, :] + 0.5
    return (position >= begin[:, None]) & (position < (begin + length)[:, None])
