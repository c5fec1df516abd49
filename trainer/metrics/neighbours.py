"""Nearest rows by cosine: for retrieval, hubs, votes and the report alike."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_ROWS_PER_BLOCK = 256  # each with all n others, in several arrays of 8 bytes a number
_RESOLUTION = 1e-9  # of cosines in a ranking; those of equal rows differ by up to 1e-15
_INDEX_BITS = 32
NO_CANDIDATE = -2.0
"""Instead of a cosine: of a row that is never found; below every cosine."""

Vectors = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]


@dataclass(frozen=True)
class Neighbours:
    """Per query the numbers of its nearest rows ``[queries, k]``, nearest first, and cosines."""

    rows: npt.NDArray[np.int64]
    cosines: npt.NDArray[np.float64]


def unit_rows(vectors: Vectors) -> Vectors:
    """Scale rows ``[..., size]`` to length one, in their own precision; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, np.finfo(lengths.dtype).tiny)
    return unit


def nearest_others(vectors: Vectors, k: int, queries: Ints | None = None) -> Neighbours:
    """Find the `k` other rows of the highest cosine with each query.

    Cosines within 1e-9 of each other tie, and the lower row comes first.

    Args:
        vectors: ``[n, size]``, finite, rows of any length.
        k: how many others; all of them where there are fewer.
        queries: numbers of the rows to ask for; None: all.
    """
    queries = np.arange(len(vectors)) if queries is None else queries
    k = max(min(k, len(vectors) - 1), 0)
    blocks = other_cosines(vectors.astype(np.float64), queries, _ROWS_PER_BLOCK)
    return _join([_nearest(cosines, k) for _, cosines in blocks], k)


def knn_labels(
    train_vectors: Vectors, train_labels: Ints, vectors: Vectors, k: int = 5
) -> npt.NDArray[np.int64]:
    """Label each row as the most common of its k nearest training rows, by cosine: ``[n]``.

    Votes count equally; of equally common labels the lowest wins. With fewer than k training rows,
    all vote.

    Args:
        train_vectors: ``[n_train, size]``.
        train_labels: ``[n_train]``, from 0.
        vectors: ``[n, size]``.
        k: how many training rows vote.
    """
    k = min(k, len(train_labels))
    candidates, asked = (unit_rows(rows.astype(np.float64)) for rows in (train_vectors, vectors))
    blocks = [asked[i : i + _ROWS_PER_BLOCK] for i in range(0, len(asked), _ROWS_PER_BLOCK)]
    nearest = _join([_nearest(block @ candidates.T, k) for block in blocks], k)
    votes = np.zeros((len(vectors), int(train_labels.max()) + 1), np.int64)
    np.add.at(votes, (np.arange(len(vectors))[:, None], train_labels[nearest.rows]), 1)
    winners: npt.NDArray[np.int64] = votes.argmax(axis=1)
    return winners


def rankings(
    vectors: Vectors, queries: Ints, candidates: Callable[[Ints], npt.NDArray[np.bool_]]
) -> Iterator[tuple[Ints, Ints]]:
    """Yield blocks of queries and the numbers of all others, nearest first: ``[block, n - 1]``.

    Those that `candidates`, see `trainer.metrics.candidates`, leaves out come last.
    """
    for rows, cosines in other_cosines(vectors.astype(np.float64), queries, _ROWS_PER_BLOCK):
        cosines[~candidates(rows)] = NO_CANDIDATE
        yield rows, _nearest(cosines, len(vectors) - 1).rows


def other_cosines(
    vectors: Vectors, queries: Ints, rows_per_block: int
) -> Iterator[tuple[Ints, Vectors]]:
    """Yield blocks of queries and their cosines with all rows: ``[block, n]``.

    With itself it is `NO_CANDIDATE`.
    """
    unit = unit_rows(vectors)
    for first in range(0, len(queries), rows_per_block):
        rows = queries[first : first + rows_per_block]
        cosines = unit[rows] @ unit.T
        cosines[np.arange(len(rows)), rows] = NO_CANDIDATE
        yield rows, cosines


def _nearest(cosines: Vectors, k: int) -> Neighbours:
    """Find the k highest cosines of each row ``[block, n]``, highest first.

    One integer holds the cosine in its upper and the number of the row in its lower bits, so no two
    are equal, and every way to sort them gives the same order.
    """
    doubles: npt.NDArray[np.float64] = cosines.astype(np.float64, copy=False)
    steps = np.rint(doubles / -_RESOLUTION).astype(np.int64)
    keys = (steps << _INDEX_BITS) | np.arange(cosines.shape[1])
    if 0 < k < cosines.shape[1]:
        keys.partition(k - 1, axis=1)
    keys = np.sort(keys[:, :k], axis=1)
    rows = keys & ((1 << _INDEX_BITS) - 1)
    return Neighbours(rows, np.take_along_axis(doubles, rows, axis=1))


def _join(blocks: list[Neighbours], k: int) -> Neighbours:
    blocks = [Neighbours(np.empty((0, k), np.int64), np.empty((0, k))), *blocks]
    return Neighbours(
        np.concatenate([block.rows for block in blocks]),
        np.concatenate([block.cosines for block in blocks]),
    )
