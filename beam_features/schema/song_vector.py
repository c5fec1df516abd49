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
    if not len(rows):
        return np.empty((0, 2 * tiles.shape[1]), np.float32)
    used = np.flatnonzero(pooled_tiles(rows, audible))
    used = used[np.argsort(rows[used], kind="stable")]
    starts = np.flatnonzero(np.diff(rows[used], prepend=-1))
    counts = np.bincount(rows[used])[:, None]
    mean = np.add.reduceat(tiles[used], starts) / counts
    peak = np.maximum.reduceat(tiles[used], starts)
    return np.concatenate([mean, peak], axis=1).astype(np.float32)
