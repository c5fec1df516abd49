"""The songs most like each song of the library."""

from collections.abc import Sequence

import numpy as np

from similarity.index.library import Library
from similarity.measure.nearest import best_first
from similarity.measure.scale import similarity


def nearest_rows(library: Library, k: int) -> list[Sequence[tuple[int, float]]]:
    """Rows and similarities of the `k` songs most like each song, as `dem similar` orders them."""
    found: list[Sequence[tuple[int, float]]] = []
    for row in range(len(library)):
        scores = library.scores(row, "mutual-proximity")
        scores[row] = -np.inf
        rows = best_first(scores)[: min(k, len(library) - 1)]
        alike = similarity(library.unit[rows] @ library.unit[row], library.info.largest_distance)
        found.append(list(zip(rows.tolist(), alike.round(4).tolist(), strict=True)))
    return found
