"""Whether training was worth it: the encoder beside the untrained one and plain statistics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainer.data.vector_table import VectorTable
from trainer.metrics.retrieval import recall_at_1

GAP_S = 10.0  # tiles nearer in time than this are alike whatever the encoder
RIVALS = {"random": "untrained", "none": "log-mel statistics"}
"""What the trained encoder is compared with: kinds of encoders, and what the page calls them."""


@dataclass(frozen=True)
class Recalls:
    """How often the nearest other tile is of the same song, for several encoders.

    Attributes:
        by_kind: 0 to 1 by kind of encoder, all of the same tiles.
        gap_s: tiles of a song within this time of the query are left out.
        songs: how many there are.
    """

    by_kind: Mapping[str, float]
    gap_s: float
    songs: int


@dataclass(frozen=True)
class Verdict:
    """What to say of the trained encoder and one rival; `is_bad`: training was not worth it."""

    text: str
    is_bad: bool


def measure_recalls(tiles: Mapping[str, VectorTable]) -> Recalls | None:
    """Compare encoders by the songs of nearest tiles, without labels.

    Songs that are too short to have tiles 10 s apart are compared by all of their tiles.

    Args:
        tiles: of each kind of encoder, the same rows.

    Returns:
        None where fewer than two songs have tiles to compare.
    """
    for gap_s in (GAP_S, 0.0):
        found = {kind: _recall(table, gap_s) for kind, table in tiles.items()}
        if not any(map(math.isnan, found.values())):
            songs = len(np.unique(next(iter(tiles.values())).context_ids))
            return Recalls(found, gap_s, songs)
    return None


def _recall(tiles: VectorTable, gap_s: float) -> float:
    """Recall at 1 of audible tiles by context; NaN where all are of one context."""
    tiles = tiles.select(tiles.audible)
    if len(np.unique(tiles.context_ids)) < 2:
        return math.nan
    return recall_at_1(tiles.vectors, tiles.context_ids)


def verdicts(recalls: Recalls) -> list[Verdict]:
    """Compare the trained encoder with each rival, in words."""
    trained = recalls.by_kind["trained"]
    return [
        _verdict(name, 100 * (trained - recalls.by_kind[kind]))
        for kind, name in RIVALS.items()
        if kind in recalls.by_kind
    ]


def _verdict(rival: str, points: float) -> Verdict:
    """Word a difference of `points`; what is written as 0.0 is none."""
    rounded = round(points, 1)
    if rounded > 0:
        return Verdict(f"ahead of {rival} by {rounded:.1f} points", is_bad=False)
    if rounded < 0:
        return Verdict(f"below {rival} by {-rounded:.1f} points", is_bad=True)
    return Verdict(f"no better than {rival}", is_bad=True)
