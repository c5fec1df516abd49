"""Label-free quality of an embedding: are the nearest other tiles from the same context?

With labels as groups, the same measures show how well labels are retrieved.
"""

import numpy as np
import numpy.typing as npt

from trainer.metrics.neighbours import Ints, Vectors, other_cosines, rankings

_ROWS_PER_BLOCK = 1024
_LEAST_OTHERS = {  # a measure is not defined where a row has fewer others
    "recall_at_1": 1,
    "recall_at_5": 5,
    "recall_at_10": 10,
    "map_at_10": 10,
    "r_precision": 1,
}

Groups = npt.NDArray[np.generic]
Scores = npt.NDArray[np.float64]


def recall_at_1(embeddings: Vectors, contexts: Groups) -> float:
    """Share of tiles whose nearest other tile, by cosine, is of the same context.

    A tile that is the only one of its context is no query, but it remains a candidate.

    Args:
        embeddings: ``[n, size]``, rows of any length.
        contexts: ``[n]``.

    Returns:
        0 to 1; NaN where no context has two tiles.
    """
    context_ids, relevant = _relevant(contexts)
    queries = np.flatnonzero(relevant)
    if not len(queries):
        return float("nan")
    hits = 0
    for rows, cosines in other_cosines(embeddings, queries, _ROWS_PER_BLOCK):
        nearest = cosines.argmax(axis=1)
        hits += int(np.count_nonzero(context_ids[nearest] == context_ids[rows]))
    return hits / len(queries)


def retrieval_scores(embeddings: Vectors, groups: Groups) -> dict[str, float | None]:
    """Score how each row retrieves the others of its group, nearest first by cosine.

    Rows that are alone in their group are no queries, but they remain candidates. All queries count
    equally, so large groups count more. Cosines within 1e-9 of each other tie, and the lower row
    comes first.

    Args:
        embeddings: ``[n, size]``, finite, rows of any length.
        groups: ``[n]``, such as contexts or labels.

    Returns:
        Means over the queries, 0 to 1: ``recall_at_1``, ``recall_at_5`` and ``recall_at_10``,
        the share with at least one of the group among the k nearest others; ``map_at_10``, see
        `average_precision`; ``r_precision``, see `r_precision`. None where there is no query, or
        where there are fewer than k others.
    """
    group_ids, relevant = _relevant(groups)
    queries = np.flatnonzero(relevant)
    totals = dict.fromkeys(_LEAST_OTHERS, 0.0)
    for rows, ranking in rankings(embeddings, queries):
        hits = group_ids[ranking] == group_ids[rows][:, None]  # [block, n - 1]
        for name, scores in _score(hits, relevant[rows]).items():
            totals[name] += float(scores.sum())
    return {
        name: total / len(queries) if len(queries) and len(groups) > _LEAST_OTHERS[name] else None
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


def _relevant(groups: Groups) -> tuple[Ints, Ints]:
    """Number the groups; return each row's group and how many others are in it."""
    _, group_ids, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return group_ids, sizes[group_ids] - 1


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
