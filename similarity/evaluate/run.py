"""The evaluation of an index, beside that of rivals on the same songs."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dem.errors import InputError
from similarity.evaluate.hubs import measure_hubs
from similarity.evaluate.orders import compare_orders
from similarity.evaluate.retrieval import retrieval
from similarity.index.library import Library
from similarity.index.songs import numbered
from similarity.measure.hubness import Reduction
from similarity.measure.scale import similarity

_MOST_QUERIES = 5000
_MOST_ORDERED = 1000
_REDUCTIONS: tuple[Reduction, ...] = ("none", "mutual-proximity", "csls")

Ints = npt.NDArray[np.integer]


def evaluate(
    library: Library, groups: Sequence[str], exclude_same: str, k: int, seed: int = 0
) -> dict[str, Any]:
    """Measure an index; ready for JSON.

    Args:
        library: the index.
        groups: columns that say which songs belong together.
        exclude_same: column; songs that have the query's value are no candidates.
        k: how many of the nearest are looked at.
        seed: of drawn songs and intervals.

    Raises:
        InputError: there is no such column, or fewer than two songs.
    """
    if len(library) < 2:
        raise InputError(f"{library.uri} has one song; an evaluation takes two or more")
    queries = drawn(len(library), _MOST_QUERIES, seed)
    own = numbered(library.column(exclude_same))
    artists = numbered(library.column("artist"))
    found: dict[str, Any] = {
        "songs": len(library),
        "queries": len(queries),
        "k": k,
        "excluded": exclude_same,
        "groups": {},
        "hubs": {},
    }
    for reduction in _REDUCTIONS:
        scores = functools.partial(library.scores, reduction=reduction)
        found["hubs"][reduction] = dataclasses.asdict(measure_hubs(scores, queries, len(library)))
        for group in groups:
            numbers = numbered(library.column(group))
            by_group = found["groups"].setdefault(group, {}).setdefault(reduction, {})
            filters = {"all artists": [own]}
            if group != "artist" and (artists >= 0).any():
                filters["other artists"] = [own, artists]
            for name, excluded in filters.items():
                result = retrieval(scores, numbers, excluded, queries, k, seed)
                by_group[name] = dataclasses.asdict(result)
    rows = drawn(len(library), _MOST_ORDERED, seed)
    unit = library.unit[rows]
    distances = 1 - similarity(unit @ unit.T, library.info.largest_distance)
    orders = compare_orders(distances, seed)
    found["orders"] = {name: dataclasses.asdict(steps) for name, steps in orders.items()}
    return found


def drawn(n: int, most: int, seed: int) -> Ints:
    """All rows, or so many of them at random, in order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
