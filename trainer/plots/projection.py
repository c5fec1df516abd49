"""Vectors prepared for figures: projections, distances between labels, subsets of rows."""

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from trainer.metrics.neighbours import Ints, Vectors, unit_rows

_PERPLEXITY = 30.0  # scikit-learn's default; lower if there are few rows
_ITERATIONS = 500  # half of scikit-learn's: enough when starting from the principal axes

Points = npt.NDArray[np.float64]


def pca_plane(vectors: Vectors) -> tuple[Points, tuple[float, float]]:
    """Project the directions of rows ``[n, size]`` on their two principal axes.

    Returns:
        Points ``[n, 2]`` and the share of the variance that each axis explains. A missing
        axis, such as the second one of two rows, is 0.
    """
    points, shares = np.zeros((len(vectors), 2)), np.zeros(2)
    rows = unit_rows(vectors.astype(np.float64)) if len(vectors) else points
    n_axes = min(2, *rows.shape)
    if len(rows) > 1 and np.ptp(rows, axis=0).any():
        pca = PCA(n_axes, svd_solver="full").fit(rows)
        points[:, :n_axes], shares[:n_axes] = pca.transform(rows), pca.explained_variance_ratio_
    return points, (float(shares[0]), float(shares[1]))


def tsne_plane(vectors: Vectors, seed: int) -> Points:
    """Project rows ``[n, size]`` to ``[n, 2]`` by t-SNE, so that similar directions are close.

    t-SNE starts from the principal axes. With fewer than four rows, or if all directions are equal,
    the principal axes are the result.
    """
    start, _ = pca_plane(vectors)
    if len(vectors) < 4 or not np.ptp(start[:, 0]):
        return start
    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    tsne = TSNE(
        perplexity=perplexity,
        init=1e-4 * start / start[:, 0].std(),
        max_iter=_ITERATIONS,
        random_state=seed,
    )
    rows = unit_rows(vectors.astype(np.float32))
    with threadpool_limits(1, "openmp"):  # on a busy machine, 2 take 4 times as long
        points: Points = tsne.fit_transform(rows).astype(np.float64)
    return points


def label_distances(vectors: Vectors, labels: Ints) -> tuple[npt.NDArray[np.int64], Points]:
    """Cosine distances between the mean directions of labels.

    Args:
        vectors: ``[n, size]``.
        labels: ``[n]``; rows below 0 have no label and are skipped.

    Returns:
        The labels that occur ``[k]``, ascending, and distances ``[k, k]``, each 0 to 2.
    """
    known = labels >= 0
    present, rows = np.unique(labels[known], return_inverse=True)
    sums = np.zeros((len(present), vectors.shape[1]))
    np.add.at(sums, rows, unit_rows(vectors[known].astype(np.float64)))
    centroids = unit_rows(sums)
    distances = np.clip(1 - centroids @ centroids.T, 0, 2)
    np.fill_diagonal(distances, 0)
    return present.astype(np.int64), distances


def spread_over_labels(labels: Ints, n: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose `n` rows, or all: one of each label in turn, in random order.

    Rows without a label, below 0, count as one more label. The choice is in ascending order.
    """
    order, turns = _turns(labels, seed)
    return np.sort(order[np.argsort(turns, kind="stable")][:n])


def whole_contexts(
    contexts: npt.NDArray[np.generic], most: int, most_of_one: int, seed: int
) -> npt.NDArray[np.int64]:
    """Choose at most `most` rows: whole contexts, drawn at random.

    A context gives at most `most_of_one` rows; the last one may be cut. The rows are in ascending
    order.
    """
    _, ids = np.unique(contexts, return_inverse=True)
    order, turns = _turns(ids, seed)
    order = order[turns < most_of_one]
    places = np.random.default_rng(seed).permutation(ids.max(initial=0) + 1)
    return np.sort(order[np.argsort(places[ids[order]], kind="stable")][:most])


def _turns(groups: Ints, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows in random order, and the number of earlier rows of the same group for each."""
    order = np.random.default_rng(seed).permutation(len(groups))
    turns = np.empty(len(groups), np.int64)
    by_group = np.argsort(groups[order], kind="stable")
    sizes = np.unique(groups, return_counts=True)[1]
    turns[by_group] = np.concatenate([np.arange(size) for size in sizes] or [turns])
    return order, turns
