"""Hubs: how unevenly songs occur among the nearest of others."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import skew


@dataclass(frozen=True)
class Hubs:
    """Occurrence of songs in the lists of the k nearest of all songs.

    Attributes:
        skewness: of the number of lists that a song is in; 0 is even (Radovanović et al., JMLR 11,
            2010); None where all songs occur equally often.
        nowhere: share of the songs that are in no list.
        largest: share of the lists that the most frequent song is in.
    """

    skewness: float | None
    nowhere: float
    largest: float


def measure_hubs(
    scores: Callable[[int], npt.NDArray[np.floating]],
    queries: npt.NDArray[np.integer],
    n_songs: int,
    k: int = 10,
) -> Hubs:
    """Count in how many of the queries' lists each song is."""
    counts = np.zeros(n_songs, np.int64)
    for query in queries.tolist():
        found = np.array(scores(query))
        found[query] = -np.inf
        nearest = np.argsort(-found, kind="stable")[: min(k, n_songs - 1)]
        counts[nearest] += 1
    return Hubs(
        float(skew(counts)) if np.ptp(counts) else None,
        float(np.mean(counts == 0)),
        float(counts.max() / max(len(queries), 1)),
    )
