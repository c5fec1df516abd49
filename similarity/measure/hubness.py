"""Hubs: songs that are near to far too many others, and two ways to reduce them.

In spaces of many dimensions a few songs become neighbours of many. Both measures replace the cosine
by one that is high only where each song is near to the other, compared with how near others are.
Schnitzer, Flexer, Schedl and Widmer, "Local and global scaling reduce hubs in space", JMLR 13
(2012): mutual proximity. Conneau et al., "Word translation without parallel data" (arXiv
1710.04087): CSLS. Here the others are the reference songs, all of a library of up to 4,096.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Reduction = Literal["mutual-proximity", "csls", "none"]

_MOST_REFERENCE_SONGS = 4096
_NEIGHBOURS = 10  # as in the papers' experiments
_ROWS_PER_BLOCK = 512


@dataclass(frozen=True)
class Surroundings:
    """How near the reference songs are to each song: ``[songs]`` each.

    Attributes:
        mean: of the cosines with the reference songs.
        deviation: standard deviation of them.
        nearest: mean of the 10 highest of them.
    """

    mean: Floats
    deviation: Floats
    nearest: Floats

    def of(self, rows: Ints) -> "Surroundings":
        """Those of some songs, in the order of their rows."""
        return Surroundings(self.mean[rows], self.deviation[rows], self.nearest[rows])


def reference_songs(recordings: list[str]) -> Ints:
    """Choose at most 4,096 songs by the hash of their ids: an added song moves at most one."""
    if len(recordings) <= _MOST_REFERENCE_SONGS:
        return np.arange(len(recordings))
    keys = [hashlib.sha256(name.encode(errors="surrogateescape")).digest() for name in recordings]
    chosen = sorted(range(len(keys)), key=keys.__getitem__)[:_MOST_REFERENCE_SONGS]
    return np.sort(np.array(chosen))


def surroundings(unit: Floats, reference: Floats, own: Ints | None = None) -> Surroundings:
    """Compare songs with the reference songs.

    Args:
        unit: ``[n, size]``, rows of length one.
        reference: ``[m, size]``, likewise.
        own: ``[n]``, which reference song each song is itself, or -1; it is left out. None: none.
    """
    own = np.full(len(unit), -1) if own is None else own
    if not len(unit):
        return Surroundings(*(np.empty(0) for _ in range(3)))
    parts = [
        _of_block(unit[first : first + _ROWS_PER_BLOCK], reference, own[first:][:_ROWS_PER_BLOCK])
        for first in range(0, len(unit), _ROWS_PER_BLOCK)
    ]
    return Surroundings(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _of_block(unit: Floats, reference: Floats, own: Ints) -> tuple[Floats, Floats, Floats]:
    cosines = unit @ reference.T
    rows = np.flatnonzero(own >= 0)
    others = np.full(len(unit), cosines.shape[1])
    others[rows] -= 1
    itself = np.zeros(len(unit))
    itself[rows] = cosines[rows, own[rows]]
    n = np.maximum(others, 1)
    mean = (cosines.sum(axis=1, dtype=np.float64) - itself) / n
    centred = cosines - mean[:, None].astype(cosines.dtype)
    centred[rows, own[rows]] = 0
    variance = np.square(centred).sum(axis=1, dtype=np.float64) / n
    cosines[rows, own[rows]] = -np.inf
    k = min(_NEIGHBOURS, cosines.shape[1])
    highest = np.partition(cosines, cosines.shape[1] - k, axis=1)[:, -k:]
    found = np.isfinite(highest)
    nearest = np.where(found, highest, 0).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
    return mean, np.sqrt(variance), nearest


def reduced(
    cosines: Floats, query: Surroundings, songs: Surroundings, reduction: Reduction
) -> Floats:
    """Replace cosines by a measure with fewer hubs; higher is more alike.

    Args:
        cosines: of one query with songs ``[n]``.
        query: its surroundings, ``[1]``.
        songs: those of the songs, ``[n]``.
        reduction: ``mutual-proximity``: the probability that a random song is farther from both,
            with normally distributed cosines that are independent (JMLR 13, eq. 9); ``csls``:
            twice the cosine less the mean cosine of each with its 10 nearest.
    """
    if reduction == "none":
        return cosines
    if reduction == "csls":
        return 2 * cosines - query.nearest - songs.nearest
    floor = 1e-9  # of equal songs
    from_query = ndtr((cosines - query.mean) / np.maximum(query.deviation, floor))
    from_songs = ndtr((cosines - songs.mean) / np.maximum(songs.deviation, floor))
    return np.asarray(from_query * from_songs)
