"""Quality of an embedding: is what lies next to each other alike?"""

import numpy as np
import numpy.typing as npt
from sklearn.neighbors import KNeighborsClassifier

_ROWS_PER_BLOCK = 1024


def recall_at_1(embeddings: npt.NDArray[np.floating], contexts: npt.NDArray[np.generic]) -> float:
    """Share of tiles whose nearest other tile, by cosine, is of the same context.

    Tiles that are the only one of their context cannot be right and are not asked; they remain
    candidates. Rows need not be of length one.

    Args:
        embeddings: ``[n, size]``.
        contexts: ``[n]``.

    Returns:
        0 to 1; NaN where no context has two tiles.
    """
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, np.finfo(np.float32).tiny)
    _, context_ids, sizes = np.unique(contexts, return_inverse=True, return_counts=True)
    asked = np.flatnonzero(sizes[context_ids] > 1)
    if not len(asked):
        return float("nan")
    hits = 0
    for start in range(0, len(asked), _ROWS_PER_BLOCK):
        rows = asked[start : start + _ROWS_PER_BLOCK]
        similarity = unit[rows] @ unit.T  # [block, n]
        similarity[np.arange(len(rows)), rows] = -np.inf
        nearest = similarity.argmax(axis=1)
        hits += int(np.count_nonzero(context_ids[nearest] == context_ids[rows]))
    return hits / len(asked)


def knn_accuracy(
    train_vectors: npt.NDArray[np.floating],
    train_labels: npt.NDArray[np.integer],
    vectors: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    k: int = 5,
) -> float:
    """Share of rows whose label most of the `k` nearest training rows, by cosine, have."""
    nearest = KNeighborsClassifier(min(k, len(train_labels)), metric="cosine")
    return float(nearest.fit(train_vectors, train_labels).score(vectors, labels))
