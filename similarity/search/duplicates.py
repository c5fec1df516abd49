"""Recordings that are in a library more than once: equal samples, or the same sound."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from similarity.index.library import Library
from similarity.search.similar import SAME_LENGTH, SAME_SOUND

_ROWS_PER_BLOCK = 512


def duplicate_groups(library: Library) -> list[list[int]]:
    """Group the rows of songs that are one recording; groups of two or more, in order of rows.

    Two songs are one recording if their decoded samples are equal, or if the cosine of their
    vectors is above 0.9999 and their lengths differ by at most 2 %. Songs without an audible tile
    are compared by their samples alone.
    """
    pairs = np.array([*_equal_samples(library), *_equal_sounds(library)], np.int64).reshape(-1, 2)
    ones, others = pairs.T
    links = coo_array((np.ones(len(pairs)), (ones, others)), (len(library),) * 2)
    groups: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(connected_components(links, directed=False)[1].tolist()):
        groups[group].append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


def _equal_samples(library: Library) -> Iterator[tuple[int, int]]:
    first: dict[str, int] = {}
    for row, digest in enumerate(library.column("samples_sha256")):
        if digest:
            yield first.setdefault(digest, row), row


def _equal_sounds(library: Library) -> Iterator[tuple[int, int]]:
    """Compare each song with those that are as long or a little longer."""
    seconds = np.array(library.column("seconds"), np.float64)
    audible = np.array(library.column("audible_share"), np.float64) > 0
    order = np.flatnonzero(audible)
    order = order[np.argsort(seconds[order], kind="stable")]
    lengths = seconds[order]
    ends = np.searchsorted(lengths, lengths / (1 - SAME_LENGTH), side="right")
    for first in range(0, len(order), _ROWS_PER_BLOCK):
        block = order[first : first + _ROWS_PER_BLOCK]
        last = int(ends[first : first + _ROWS_PER_BLOCK].max(initial=first))
        candidates = order[first:last]
        cosines = library.unit[block] @ library.unit[candidates].T
        ones, others = np.nonzero(cosines > SAME_SOUND)
        within = (others > ones) & (first + others < ends[first + ones])
        yield from zip(
            block[ones[within]].tolist(), candidates[others[within]].tolist(), strict=True
        )
