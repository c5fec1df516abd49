"""How alike neighbours in an order are."""

from collections.abc import Sequence
from dataclasses import dataclass

from similarity.index.library import Library
from similarity.measure.scale import similarity


@dataclass(frozen=True)
class Transitions:
    """The similarity of each song to the one before it, None where one is unknown; their mean."""

    similarities: list[float | None]
    mean: float | None


def transitions(library: Library, rows: Sequence[int | None]) -> Transitions:
    """Compare each song of an order with the one before it.

    Args:
        library: the index.
        rows: of songs; None: a song outside of the index.
    """
    before: Sequence[int | None] = [None, *rows[:-1]]
    found = [_similarity(library, one, other) for one, other in zip(before, rows, strict=True)]
    known = [value for value in found if value is not None]
    return Transitions(found, round(sum(known) / len(known), 6) if known else None)


def _similarity(library: Library, one: int | None, other: int | None) -> float | None:
    if one is None or other is None:
        return None
    cosine = library.unit[one] @ library.unit[other]
    return float(similarity(cosine, library.info.largest_distance))
