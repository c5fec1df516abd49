"""Label-free quality of an embedding: are the nearest other tiles from the same context?

The same measures tell how well labels are found again, with the labels as groups.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

_ROWS_PER_BLOCK = 1024
_ROWS_PER_SORT = 256  # each with all n others, in several arrays of 8 bytes a number
_RESOLUTION = 1e-9  # of cosines in a ranking; those of equal rows differ by up to 1e-15
_INDEX_BITS = 32
_LEAST_OTHERS = {  # a measure is not defined where a row has fewer others
    "recall_at_1": 1,
    "recall_at_5": 5,
    "recall_at_10": 10,
    "map_at_10": 10,
    "r_precision": 1,
}

Vectors = npt.NDArray[np.floating]
Groups = npt.NDArray[np.generic]
Ints = npt.NDArray[np.integer]
Scores = npt.NDArray[np.float64]


def recall_at_1(embeddings: Vectors, contexts: Groups) -> float:
    """Share of tiles whose nearest other tile, by cosine, is of the same context.

    Tiles that are the only one of their context cannot be right and are not asked; they remain
    candidates. Rows need not be of length one.

    Args:
        embeddings: ``[n, size]``.
        contexts: ``[n]``.

    Returns:
        0 to 1; NaN where no context has two tiles.
    """
    context_ids, relevant = _relevant(contexts)
    asked = np.flatnonzero(relevant)
    if not len(asked):
        return float("nan")
    hits = 0
    for rows, similarity in _similarities(embeddings, asked, _ROWS_PER_BLOCK):
        nearest = similarity.argmax(axis=1)
        hits += int(np.count_nonzero(context_ids[nearest] == context_ids[rows]))
    return hits / len(asked)


def retrieval_scores(embeddings: Vectors, groups: Groups) -> dict[str, float | None]:
    """Let each row ask for the others of its group, nearest first by cosine, and score the answers.

    Rows that are alone in their group are not asked; they remain candidates. Every asked row counts
    alike, so large groups count more. Cosines within 1e-9 of each other tie, and the lower row
    comes first.

    Args:
        embeddings: ``[n, size]``, finite, rows of any length.
        groups: ``[n]``, such as contexts or labels.

    Returns:
        Means over the asked rows, 0 to 1: ``recall_at_1``, ``recall_at_5`` and ``recall_at_10``,
        the share with at least one of the group among the k nearest others; ``map_at_10``, see
        `average_precision`; ``r_precision``, see `r_precision`. None where no row is asked, or
        where there are fewer than k others.
    """
    group_ids, relevant = _relevant(groups)
    asked = np.flatnonzero(relevant)
    totals = dict.fromkeys(_LEAST_OTHERS, 0.0)
    for rows, ranking in _rankings(embeddings, asked):
        hits = group_ids[ranking] == group_ids[rows][:, None]  # [block, n - 1]
        for name, scores in _score(hits, relevant[rows]).items():
            totals[name] += float(scores.sum())
    return {
        name: total / len(asked) if len(asked) and len(groups) > _LEAST_OTHERS[name] else None
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


def nearest_others(embeddings: Vectors, k: int) -> Ints:
    """Numbers of the k nearest other rows by cosine, nearest first, the lower row in a tie.

    Args:
        embeddings: ``[n, size]``, finite, rows of any length.
        k: at most n - 1.

    Returns:
        ``[n, k]``.
    """
    everyone = np.arange(len(embeddings))
    nearest = [ranking[:, :k].copy() for _, ranking in _rankings(embeddings, everyone)]
    return np.concatenate(nearest)


def _relevant(groups: Groups) -> tuple[Ints, Ints]:
    """Number the groups; return each row's group and how many others are in it."""
    _, group_ids, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return group_ids, sizes[group_ids] - 1


def _score(hits: npt.NDArray[np.bool_], relevant: Ints) -> dict[str, npt.NDArray[np.generic]]:
    """Each measure of each ranking: ``[n]``."""
    first = hits.argmax(axis=1)  # there is one, as every row that asks has relevant others
    return {
        "recall_at_1": first < 1,
        "recall_at_5": first < 5,
        "recall_at_10": first < 10,
        "map_at_10": average_precision(hits[:, :10], relevant),
        "r_precision": r_precision(hits, relevant),
    }


def _rankings(embeddings: Vectors, asked: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Yield rows and the numbers of all their others, nearest first: ``[block, n - 1]``.

    One integer holds the cosine in its upper and the number of the row in its lower bits, so no two
    are equal, and any way to sort them gives the same order.
    """
    numbers = np.arange(len(embeddings))
    doubles = embeddings.astype(np.float64)
    for rows, similarity in _similarities(doubles, asked, _ROWS_PER_SORT):
        steps = np.rint(similarity / -_RESOLUTION).astype(np.int64)
        keys = (steps << _INDEX_BITS) | numbers
        keys.sort(axis=1)
        yield rows, keys[:, :-1] & ((1 << _INDEX_BITS) - 1)


def _similarities(
    embeddings: Vectors, asked: Ints, rows_per_block: int
) -> Iterator[tuple[Ints, Vectors]]:
    """Yield rows and their cosines with all rows, -2 with themselves: ``[block, n]``."""
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, np.finfo(np.float32).tiny)
    for start in range(0, len(asked), rows_per_block):
        rows = asked[start : start + rows_per_block]
        similarity = unit[rows] @ unit.T
        similarity[np.arange(len(rows)), rows] = -2
        yield rows, similarity
