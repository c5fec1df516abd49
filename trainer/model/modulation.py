"""The strongest vectors that nothing has learned: log-mel moments and the modulation spectrum."""

import itertools
from collections.abc import Callable, Sequence

import keras
import numpy as np

from trainer.model.vectors import log_mel_moments, log_mel_statistics

_GROUPS = 16
_BANDS = 7
_LOWEST_HZ, _HIGHEST_HZ = 1.0, 50.0
_WINDOW_S, _STEP_S = 1.0, 0.25
_OFFSET = 1e-4  # in squared log-mel units; a group's rounding to float16 has less power
_EPSILON = 1e-9  # of whole numbers that were computed


def modulation_statistics(tile_shape: tuple[int, int], hop_s: float) -> keras.Model:
    """Build the encoder of `modulation`: what `none` gives, and how fast the level changes.

    The mel bins are averaged in 16 groups of neighbours of sizes as equal as possible, or each is a
    group where there are fewer. Hann windows of 1 s every 0.25 s are cut from the course of each
    group over time, and their mean is removed before the weighting. The power at a frequency is
    ``2 |DFT|^2 / (frames * sum(hann^2))``, so all together is the variance. It is summed in 7
    bands, averaged over the windows, and ``log(power + 1e-4)`` is taken. The bands have edges in
    equal ratios, 1, 1.75, 3.06, 5.35, 9.35, 16.4, 28.6 and 50 Hz; each holds its lower edge, the
    last both.

    Windows lie within the tile, so one of 1 s has one. A shorter tile is itself the only window. A
    band without a frequency of the DFT is left out, as some are with shorter tiles or with hops
    above 10 ms.

    Args:
        tile_shape: ``(tile_frames, n_mels)``.
        hop_s: seconds from a frame to the next.

    Returns:
        A model of stock operations, as encoders are. Its output is
        ``[batch, 2 * n_mels + groups * bands]``: the means, the deviations, the bands of the first
        group, of the second and so on. Of 100 frames in 1 s and 64 mels these are 240 numbers.
    """
    n_frames, n_mels = tile_shape
    length = min(n_frames, max(round(_WINDOW_S / hop_s), 1))
    bounds = _band_bounds(length, hop_s)
    if len(bounds) == 1:  # a single frame has no frequency
        return log_mel_statistics(tile_shape)
    tiles = keras.Input(tile_shape, name="log_mel")
    groups = _in_ranges(keras.ops.mean, tiles, _group_bounds(n_mels))
    courses = keras.ops.transpose(groups, (0, 2, 1))  # [batch, groups, frames]
    windows = keras.ops.extract_sequences(courses, length, max(round(_STEP_S / hop_s), 1))
    bands = _in_ranges(keras.ops.sum, _power(windows, length), bounds)
    levels = keras.ops.log(keras.ops.mean(bands, axis=2) + _OFFSET)  # [batch, groups, bands]
    levels = keras.ops.reshape(levels, (-1, levels.shape[1] * levels.shape[2]))
    vectors = keras.ops.concatenate([log_mel_moments(tiles), levels], axis=1)
    return keras.Model(tiles, vectors, name="modulation_statistics")


def _group_bounds(n_mels: int) -> list[int]:
    """First bin of each group, and the number of bins."""
    n_groups = min(_GROUPS, n_mels)
    return [round(group * n_mels / n_groups) for group in range(n_groups + 1)]


def _band_bounds(length: int, hop_s: float) -> list[int]:
    """First frequency of each band of a DFT of `length`, and the one after the last.

    Bounds of bands without frequencies fall together, so they are there once.
    """
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1) * length * hop_s
    above = np.floor(edges[-1] + _EPSILON) + 1
    first = np.append(np.ceil(edges[:-1] - _EPSILON), above)
    bounds: list[int] = np.unique(np.minimum(first, 1 + length // 2)).astype(int).tolist()
    return bounds


def _power(windows: keras.KerasTensor, length: int) -> keras.KerasTensor:
    """Power of windows ``[..., length]`` at each frequency: ``[..., 1 + length // 2]``."""
    hann = np.square(np.sin(np.pi * np.arange(length) / length)).astype(np.float32)
    centred = windows - keras.ops.mean(windows, axis=-1, keepdims=True)
    real, imaginary = keras.ops.rfft(centred * hann)
    scale = 2 / (length * float(np.sum(hann**2)))
    return (keras.ops.square(real) + keras.ops.square(imaginary)) * scale


def _in_ranges(
    reduce: Callable[..., keras.KerasTensor], values: keras.KerasTensor, bounds: Sequence[int]
) -> keras.KerasTensor:
    """Reduce the last axis from each bound to the next: ``[..., bounds - 1]``."""
    parts = [reduce(values[..., low:high], axis=-1) for low, high in itertools.pairwise(bounds)]
    return keras.ops.stack(parts, axis=-1)
