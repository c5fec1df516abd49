"""The scale of similarity: 1 is the same recording, 0 the most different of the library.

It is that of OpenSubsonic's ``sonicSimilarity``: https://opensubsonic.netlify.app.
"""

import numpy as np
import numpy.typing as npt

_EXACT_SONGS = 4096
_ROWS_PER_BLOCK = 512
_LEAST = 1e-6  # of the largest distance, where all songs are equal

Floats = npt.NDArray[np.floating]


def similarity(cosines: Floats, largest: float) -> Floats:
    """Map cosines to 0..1: ``1 - (1 - cosine) / largest``, clipped."""
    scaled: Floats = np.clip(1 - (1 - cosines) / max(largest, _LEAST), 0.0, 1.0)
    return scaled


def largest_distance(unit: Floats, reference: npt.NDArray[np.integer]) -> float:
    """The largest cosine distance of a song from one of the reference songs.

    With up to 4096 songs all are compared with all.

    Args:
        unit: ``[songs, size]``, rows of length one.
        reference: rows.
    """
    others = unit if len(unit) <= _EXACT_SONGS else unit[reference]
    lowest = 1.0
    for first in range(0, len(unit), _ROWS_PER_BLOCK):
        lowest = min(lowest, float((unit[first : first + _ROWS_PER_BLOCK] @ others.T).min()))
    return 1 - lowest


def percentile(cosine: float, row: Floats) -> float:
    """Share of the library, in percent, that is less similar to a song than `cosine`.

    Args:
        cosine: between the song and another.
        row: cosines of the song with all other songs ``[n]``.
    """
    return 100.0 * float(np.count_nonzero(row < cosine)) / max(len(row), 1)
