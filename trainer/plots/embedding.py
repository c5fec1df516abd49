"""Figures of an embedding for the report and TensorBoard: planes, and distances of labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainer.metrics.neighbours import Ints, Vectors
from trainer.plots.heat_map import distances_png
from trainer.plots.projection import (
    Points,
    label_distances,
    pca_plane,
    tsne_plane,
    whole_contexts,
)
from trainer.plots.scatter import MOST_GROUPS, Groups, scatter_png

MOST_POINTS = 1500  # in a plane: t-SNE of these takes seconds, and more would overlap
_MOST_OF_A_CONTEXT = 40


@dataclass(frozen=True)
class Planes:
    """Positions ``[points, 2]`` of some rows; shares of variance that the axes explain."""

    rows: npt.NDArray[np.int64]
    pca: Points
    shares: tuple[float, float]
    tsne: Points


def place(vectors: Vectors, contexts: npt.NDArray[np.generic], seed: int) -> Planes:
    """Place vectors ``[n, size]`` by PCA and t-SNE; if many, those of some contexts ``[n]``."""
    rows = whole_contexts(contexts, MOST_POINTS, _MOST_OF_A_CONTEXT, seed)
    pca, shares = pca_plane(vectors[rows])
    return Planes(rows, pca, shares, tsne_plane(vectors[rows], seed))


def pictures_by_context(planes: Planes, contexts: npt.NDArray[np.generic]) -> dict[str, bytes]:
    """Colour points by the contexts ``[n]`` of the vectors.

    Returns:
        PNG files ``pca_by_context`` and ``tsne_by_context``; none without vectors.
    """
    if not len(planes.rows):
        return {}
    return _scatter(planes, contexts, "by_context", "other contexts")


def pictures_by_label(
    planes: Planes, vectors: Vectors, labels: Ints, label_names: Sequence[str]
) -> dict[str, bytes]:
    """Colour points by the labels ``[n]`` of the vectors ``[n, size]``, and compare labels.

    A label below 0 means none; without labels there is nothing to draw.

    Returns:
        PNG files ``pca_by_label``, ``tsne_by_label`` and, with two labels or more,
        ``label_distances``.
    """
    if not (labels >= 0).any():
        return {}
    names = np.array([*label_names, ""])[labels]  # -1, the last: none
    pictures = _scatter(planes, names, "by_label", "other labels")
    present, distances = label_distances(vectors, labels)
    if len(present) > 1:
        shown = [label_names[label] for label in present]
        pictures["label_distances"] = distances_png(distances, shown)
    return pictures


def group(names: npt.NDArray[np.generic], rest: str) -> Groups:
    """Group by the most frequent names, in alphabetical order; an empty name means none."""
    found, members, counts = np.unique(
        names.astype(np.str_), return_inverse=True, return_counts=True
    )
    named = np.flatnonzero(found != "")
    shown = np.sort(named[np.argsort(-counts[named], kind="stable")[:MOST_GROUPS]])
    position = np.full(len(found), -1)
    position[shown] = np.arange(len(shown))
    return Groups(position[members], found[shown].tolist(), rest)


def _scatter(
    planes: Planes, names: npt.NDArray[np.generic], suffix: str, rest: str
) -> dict[str, bytes]:
    groups = group(names[planes.rows], rest)
    first, second = (
        f"principal axis {axis} ({share:.0%})" for axis, share in enumerate(planes.shares, start=1)
    )
    return {
        f"pca_{suffix}": scatter_png(planes.pca, groups, (first, second)),
        f"tsne_{suffix}": scatter_png(planes.tsne, groups, ("t-SNE 1", "t-SNE 2")),
    }
