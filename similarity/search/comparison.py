"""Songs compared each with each: similarity, percentile, and the moments that match best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from similarity.index.library import Library
from similarity.measure.nearest import cosines_with
from similarity.measure.scale import percentile, similarity
from similarity.search.query import Query

_MOMENTS = 3  # of each pair
_APART_S = 10.0  # two moments of a pair are at least so far from each other

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Moment:
    """Two tiles that sound alike, and where they start."""

    one: str
    one_s: float
    other: str
    other_s: float
    similarity: float


@dataclass(frozen=True)
class Comparison:
    """Songs and, each with each, ``[songs, songs]``: similarity 0 to 1, and percentile.

    The percentile of a pair is the share of the library, in percent, that is less similar to one of
    them than the other is, averaged over both.
    """

    names: list[str]
    similarity: Floats
    percentile: Floats
    moments: list[Moment]


def compare_songs(queries: Sequence[Query], library: Library, *, tiles: bool) -> Comparison:
    """Compare each song with each; with `tiles`, also find the moments that match best."""
    unit = np.stack([query.unit for query in queries])
    cosines = np.clip(unit @ unit.T, -1, 1)
    rows = [_others(query, library) for query in queries]
    shares = np.array(
        [[percentile(float(cosine), row) for cosine in cosines[i]] for i, row in enumerate(rows)]
    )
    pairs = combinations(queries, 2) if tiles else ()
    moments = [moment for one, other in pairs for moment in best_moments(one, other)]
    return Comparison(
        [query.name for query in queries],
        similarity(cosines, library.info.largest_distance),
        (shares + shares.T) / 2,
        moments,
    )


def _others(query: Query, library: Library) -> Floats:
    """Cosines of a song with all others of the library."""
    cosines = cosines_with(library.unit, query.unit)
    return cosines if query.row is None else np.delete(cosines, query.row)


def best_moments(one: Query, other: Query) -> Iterator[Moment]:
    """Yield the pairs of tiles of the highest cosine, at most 3, in songs at least 10 s apart."""
    if not (len(one.tiles) and len(other.tiles)):
        return
    cosines = one.tiles.astype(np.float32) @ other.tiles.astype(np.float32).T
    for _ in range(_MOMENTS):
        row, column = np.unravel_index(int(cosines.argmax()), cosines.shape)
        best = float(cosines[row, column])
        if not np.isfinite(best):
            return
        one_s, other_s = float(one.start_s[row]), float(other.start_s[column])
        yield Moment(one.name, one_s, other.name, other_s, round(max(best, 0.0), 6))
        cosines[np.abs(one.start_s - one_s) < _APART_S] = -np.inf
        cosines[:, np.abs(other.start_s - other_s) < _APART_S] = -np.inf
