"""The vector of a recording: one definition for the library, the classifiers and the report."""

import numpy as np
import numpy.typing as npt

DEFINITION = "mean and maximum over audible tiles"

Float32 = npt.NDArray[np.float32]


def song_vectors(
    tiles: Float32, rows: npt.NDArray[np.integer], audible: npt.NDArray[np.bool_]
) -> Float32:
    """Mean and maximum of the vectors of each recording's audible tiles.

    Digital silence has the same vector in all recordings, and how much of it surrounds a sound says
    little about the sound. A recording without audible tiles has the mean and maximum of all its
    tiles.

    Args:
        tiles: ``[n_tiles, size]``.
        rows: ``[n_tiles]``, the recording of each tile; every number from 0 on occurs.
        audible: ``[n_tiles]``.

    Returns:
        ``[n_recordings, 2 * size]``.
    """
    if not len(rows):
        return np.empty((0, 2 * tiles.shape[1]), np.float32)
    has_audible = np.bincount(rows, audible) > 0
    used = np.flatnonzero(audible | ~has_audible[rows])
    used = used[np.argsort(rows[used], kind="stable")]
    starts = np.flatnonzero(np.diff(rows[used], prepend=-1))
    counts = np.bincount(rows[used])[:, None]
    mean = np.add.reduceat(tiles[used], starts) / counts
    peak = np.maximum.reduceat(tiles[used], starts)
    return np.concatenate([mean, peak], axis=1).astype(np.float32)
