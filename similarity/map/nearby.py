"""The songs most like each song of the library."""

from collections.abc import Sequence

import numpy as np

from similarity.index.library import Library
from similarity.measure.hubness import Surroundings, reduced
from similarity.measure.nearest import best_first
from similarity.measure.scale import similarity


def nearest_rows(library: Library, k: int) -> list[Sequence[tuple[int, float]]]:
    """Rows and similarities of the `k` songs most like each song, as `dem similar` orders them."""
    found: list[Sequence[tuple[int, float]]] = []
    around = library.surroundings
    for row in range(len(library)):
        cosines = library.unit @ library.unit[row]
        own = Surroundings(around.mean[[row]], around.deviation[[row]], around.nearest[[row]])
        scores = reduced(cosines, own, around, "mutual-proximity")
        scores[row] = -np.inf
        rows = best_first(scores)[: min(k, len(library) - 1)]
        alike = similarity(cosines[rows], library.info.largest_distance)
        found.append(list(zip(rows.tolist(), alike.round(4).tolist(), strict=True)))
    return found
