"""The vector of a recording: one definition for the library, the classifiers and the report."""

import numpy as np
import numpy.typing as npt

DEFINITION = "mean and maximum over audible tiles"

Float32 = npt.NDArray[np.float32]


def pooled_tiles(
    rows: npt.NDArray[np.integer], audible: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which tiles speak for their recording: the audible ones, or all of one without any.

    Digital silence has the same vector in all recordings, and how much of it surrounds a sound says
    little about the sound.

    Args:
        rows: ``[n_tiles]``, the recording of each tile, from 0.
        audible: ``[n_tiles]``.
    """
    has_audible = np.bincount(rows, audible) > 0
    chosen: npt.NDArray[np.bool_] = audible | ~has_audible[rows]
    return chosen


def song_vectors(
    tiles: Float32, rows: npt.NDArray[np.integer], audible: npt.NDArray[np.bool_]
) -> Float32:
    """Mean and maximum of the vectors of each recording's tiles that `pooled_tiles` chooses.

    Args:
        tiles: ``[n_tiles, size]``.
        rows: ``[n_tiles]``, the recording of each tile; every number from 0 on occurs.
        audible: ``[n_tiles]``.

    Returns:
        ``[n_recordings, 2 * size]``.
    """
    return np.concatenate(_mean_and_peak(*_grouped(tiles, rows, audible)), axis=1)


def song_statistics(
    tiles: Float32, rows: npt.NDArray[np.integer], audible: npt.NDArray[np.bool_]
) -> Float32:
    """What `song_vectors` gives, then the standard deviation: ``[n_recordings, 3 * size]``."""
    chosen, starts = _grouped(tiles, rows, audible)
    mean, peak = _mean_and_peak(chosen, starts)
    counts = np.diff(starts, append=len(chosen))
    from_mean = np.square(chosen - np.repeat(mean, counts, axis=0))
    return np.concatenate([mean, peak, np.sqrt(_means(from_mean, starts))], axis=1)


def _grouped(
    tiles: Float32, rows: npt.NDArray[np.integer], audible: npt.NDArray[np.bool_]
) -> tuple[Float32, npt.NDArray[np.int64]]:
    """The tiles that are pooled, by recording, and the first one of each recording."""
    used = np.flatnonzero(pooled_tiles(rows, audible))
    used = used[np.argsort(rows[used], kind="stable")]
    return tiles[used], np.flatnonzero(np.diff(rows[used], prepend=-1))


def _mean_and_peak(tiles: Float32, starts: npt.NDArray[np.int64]) -> tuple[Float32, Float32]:
    if not len(starts):  # reduceat takes no empty arrays
        return tiles, tiles
    return _means(tiles, starts), np.maximum.reduceat(tiles, starts)


def _means(values: Float32, starts: npt.NDArray[np.int64]) -> Float32:
    if not len(starts):
        return values
    counts = np.diff(starts, append=len(values))[:, None]
    means: Float32 = (np.add.reduceat(values, starts) / counts).astype(np.float32)
    return means
