"""Retrieval by groups, such as label or artist, without what would make it easy.

A query never counts songs of its own session: they were cut from the same source. With the artist
filter it does not count those of its own artist either: recordings of an artist share a sound, and
without the filter a genre looks easier than it is (Pampalk, Flexer and Widmer, ISMIR 2005; Flexer
and Schnitzer, Comput. Music J. 34, 2010).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SAMPLES = 1000  # of the bootstrap

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]
Scores = Callable[[int], Floats]
"""From a row to how much it is like each song ``[songs]``; higher is more alike."""


@dataclass(frozen=True)
class Estimate:
    """A mean over queries and the 95 % interval of a bootstrap over them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Retrieval:
    """Means over the queries, None where there are none.

    Attributes:
        queries: how many songs have another of their group among the candidates.
        precision: share of the k nearest that are of the query's group.
        recall: share of the group that is among the k nearest; at most k of the group count.
        average_precision: area under precision and recall (MAP), over the whole ranking.
    """

    queries: int
    precision: Estimate | None
    recall: Estimate | None
    average_precision: Estimate | None


def retrieval(
    scores: Scores, groups: Ints, excluded: Sequence[Ints], queries: Ints, k: int, seed: int = 0
) -> Retrieval:
    """Measure how songs find the others of their group.

    Args:
        scores: compare a query with all songs.
        groups: ``[songs]``, number of each song's group, -1 for none.
        excluded: arrays ``[songs]``, such as the session: songs with the query's number are no
            candidates. -1 is nobody's.
        queries: rows to ask for.
        k: how many of the nearest are looked at.
        seed: of the bootstrap.
    """
    rows = list(_of_queries(scores, groups, excluded, queries, k))
    if not rows:
        return Retrieval(0, None, None, None)
    columns = np.array(rows).T
    return Retrieval(len(rows), *(estimate(column, seed) for column in columns))


def estimate(values: Floats, seed: int = 0) -> Estimate:
    """Mean and 95 % interval (percentile bootstrap, 1000 samples) of ``[n]`` values."""
    random = np.random.default_rng(seed)
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(_SAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return Estimate(float(values.mean()), float(low), float(high))


def _of_queries(
    scores: Scores, groups: Ints, excluded: Sequence[Ints], queries: Ints, k: int
) -> Iterator[tuple[float, float, float]]:
    for query in queries.tolist():
        if groups[query] < 0:
            continue
        candidate = np.ones(len(groups), np.bool_)
        candidate[query] = False
        for numbers in excluded:
            if numbers[query] >= 0:
                candidate &= numbers != numbers[query]
        relevant = candidate & (groups == groups[query])
        n_relevant = int(np.count_nonzero(relevant))
        if n_relevant:
            found = scores(query)
            order = np.flatnonzero(candidate)
            order = order[np.argsort(-found[order], kind="stable")]
            yield _of_ranking(relevant[order], n_relevant, k)


def _of_ranking(hits: npt.NDArray[np.bool_], n_relevant: int, k: int) -> tuple[float, float, float]:
    """Precision and recall of the first k, and average precision of the whole ranking."""
    first = int(np.count_nonzero(hits[:k]))
    places = np.flatnonzero(hits) + 1
    precisions = np.arange(1, len(places) + 1) / places
    return first / min(k, len(hits)), first / min(k, n_relevant), float(precisions.mean())
