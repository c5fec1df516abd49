"""Label-free quality of an embedding: are the nearest other tiles from the same context?

With labels as groups, the same measures show how well labels are retrieved.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from trainer.metrics.candidates import Candidates, Flags, Groups, every_row
from trainer.metrics.neighbours import NO_CANDIDATE, Ints, Vectors, other_cosines, rankings

_ROWS_PER_BLOCK = 1024
_LEAST_CANDIDATES = {  # a measure is not defined where a query has fewer
    "recall_at_1": 1,
    "recall_at_5": 5,
    "recall_at_10": 10,
    "map_at_10": 10,
    "r_precision": 1,
}

Scores = npt.NDArray[np.float64]


def recall_at_1(
    embeddings: Vectors, contexts: Groups, candidates: Candidates | None = None
) -> float:
    """Share of tiles whose nearest candidate, by cosine, is of the same context.

    A tile without a candidate of its context is no query, but it remains a candidate of others.

    Args:
        embeddings: ``[n, size]``, rows of any length.
        contexts: ``[n]``.
        candidates: see `trainer.metrics.candidates`; None: every other row.

    Returns:
        0 to 1; NaN where there is no query.
    """
    hits = hits_at_1(embeddings, contexts, candidates)
    asked = ~np.isnan(hits)
    return float(hits[asked].mean()) if asked.any() else float("nan")


def hits_at_1(
    embeddings: Vectors, contexts: Groups, candidates: Candidates | None = None
) -> Scores:
    """Whether the nearest candidate of each tile is of its context: ``[n]``.

    It takes what `recall_at_1` takes. 1 or 0; NaN for a tile that is no query.
    """
    asked = _Queries.of(contexts, candidates or every_row(len(contexts)))
    hits = np.full(len(contexts), np.nan)
    for rows, cosines in other_cosines(embeddings, asked.rows, _ROWS_PER_BLOCK):
        cosines[~asked.candidates(rows)] = NO_CANDIDATE
        nearest = cosines.argmax(axis=1)
        hits[rows] = asked.groups[nearest] == asked.groups[rows]
    return hits


def retrieval_scores(
    embeddings: Vectors, groups: Groups, candidates: Candidates | None = None
) -> dict[str, float | None]:
    """Score how each row retrieves the others of its group, nearest first by cosine.

    Rows without a candidate of their group are no queries, but they remain candidates of others.
    All queries count equally, so large groups count more. Cosines within 1e-9 of each other tie,
    and the lower row comes first.

    Args:
        embeddings: ``[n, size]``, finite, rows of any length.
        groups: ``[n]``, such as contexts or labels.
        candidates: see `trainer.metrics.candidates`; None: every other row.

    Returns:
        Means over the queries, 0 to 1: ``recall_at_1``, ``recall_at_5`` and ``recall_at_10``,
        the share with at least one of the group among the k nearest candidates; ``map_at_10``, see
        `average_precision`; ``r_precision``, see `r_precision`. None where there is no query, or
        where one has fewer than k candidates.
    """
    asked = _Queries.of(groups, candidates or every_row(len(groups)))
    totals = dict.fromkeys(_LEAST_CANDIDATES, 0.0)
    for rows, ranking in rankings(embeddings, asked.rows, asked.candidates):
        hits = asked.relevant(rows)[np.arange(len(rows))[:, None], ranking]  # [block, n - 1]
        for name, scores in _score(hits, asked.n_relevant[rows]).items():
            totals[name] += float(scores.sum())
    return {
        name: total / len(asked.rows)
        if len(asked.rows) and asked.fewest >= _LEAST_CANDIDATES[name]
        else None
        for name, total in totals.items()
    }


def average_precision(hits: npt.NDArray[np.bool_], relevant: Ints) -> Scores:
    """Average precision at k of rankings cut after k places: ``[n]``, 0 to 1.

    The sum, over the places i up to k that hold a hit, of the share of hits among the first i,
    divided by min(k, relevant): the best ranking has 1, also where not all relevant rows fit into k
    places. AP of Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, sec.
    8.4, divides by `relevant` alone.

    Args:
        hits: ``[n, k]``, nearest first: true where the row at this place is relevant.
        relevant: ``[n]``, at least 1: how many relevant rows there are at any place.
    """
    places = hits.shape[1]
    precision = hits.cumsum(axis=1) / np.arange(1, places + 1)
    mean: Scores = np.sum(precision * hits, axis=1) / np.minimum(relevant, places)
    return mean


def r_precision(hits: npt.NDArray[np.bool_], relevant: Ints) -> Scores:
    """Share of hits among the first R places, where R is how many relevant rows there are: ``[n]``.

    Precision and recall are equal there (Manning, Raghavan and Schütze, "Introduction to
    Information Retrieval", 2008, sec. 8.4). In a group of n rows, R is n - 1.

    Args:
        hits: ``[n, places]``, nearest first, at least R places.
        relevant: ``[n]``, R of each row, at least 1.
    """
    counted = np.arange(hits.shape[1]) < relevant[:, None]
    share: Scores = np.count_nonzero(hits & counted, axis=1) / relevant
    return share


@dataclass(frozen=True)
class _Queries:
    """Which rows are asked for, and what counts as found.

    Attributes:
        groups: number of each row's group ``[n]``.
        candidates: what each row may find.
        n_relevant: how many candidates of its group each row has ``[n]``.
        rows: those that have any.
        fewest: the lowest number of candidates of a query.
    """

    groups: Ints
    candidates: Candidates
    n_relevant: Ints
    rows: Ints
    fewest: int

    @classmethod
    def of(cls, groups: Groups, candidates: Candidates) -> Self:
        """Count the candidates of each row."""
        ids, n = np.unique(groups, return_inverse=True)[1], len(groups)
        counts = np.zeros((2, n), np.int64)
        for first in range(0, n, _ROWS_PER_BLOCK):
            rows = np.arange(first, min(first + _ROWS_PER_BLOCK, n))
            found = candidates(rows)
            counts[0, rows] = np.count_nonzero(found, axis=1)
            counts[1, rows] = np.count_nonzero(found & (ids[rows][:, None] == ids), axis=1)
        asked = np.flatnonzero(counts[1])
        return cls(ids, candidates, counts[1], asked, int(counts[0, asked].min(initial=n)))

    def relevant(self, rows: Ints) -> Flags:
        """Which rows are candidates of the same group: ``[rows, n]``."""
        same: Flags = self.groups[rows][:, None] == self.groups
        return self.candidates(rows) & same


def _score(hits: npt.NDArray[np.bool_], relevant: Ints) -> dict[str, npt.NDArray[np.generic]]:
    """Each measure of each ranking: ``[n]``."""
    first = hits.argmax(axis=1)  # there is one, as every query has relevant others
    return {
        "recall_at_1": first < 1,
        "recall_at_5": first < 5,
        "recall_at_10": first < 10,
        "map_at_10": average_precision(hits[:, :10], relevant),
        "r_precision": r_precision(hits, relevant),
    }
