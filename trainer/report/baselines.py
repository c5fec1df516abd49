"""Whether training was worth it: the encoder beside the untrained one and fixed statistics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainer.data.vector_table import VectorTable
from trainer.metrics.candidates import apart_in_time, starts_in_context
from trainer.metrics.retrieval import recall_at_1

RIVALS = {
    "none": "log-mel statistics",
    "modulation": "log-mel and modulation statistics",
    "random": "untrained",
}
"""What the trained encoder is compared with: kinds of encoders, and what the page calls them."""


@dataclass(frozen=True)
class Recalls:
    """How often the nearest other tile is of the same song, for several encoders.

    Attributes:
        by_kind: 0 to 1 by kind of encoder, all of the same tiles.
        gap_s: tiles of the query's song that start within this time of it are left out; in a short
            song, within half of its length.
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


def measure_recalls(tiles: Mapping[str, VectorTable], gap_s: float) -> Recalls | None:
    """Compare encoders by the songs of nearest tiles, without labels.

    Args:
        tiles: of each kind of encoder, the same rows.
        gap_s: see `trainer.metrics.candidates.apart_in_time`.

    Returns:
        None where there are no two songs with audible tiles, or none has tiles to find.
    """
    audible = {kind: table.select(table.audible) for kind, table in tiles.items()}
    songs = len(np.unique(audible["trained"].context_ids))
    found = {kind: _recall(table, gap_s) for kind, table in audible.items()}
    is_defined = songs > 1 and not any(map(math.isnan, found.values()))
    return Recalls(found, gap_s, songs) if is_defined else None


def _recall(tiles: VectorTable, gap_s: float) -> float:
    starts_ms = starts_in_context(tiles.context_ids, tiles.recording_ids, tiles.start_ms)
    apart = apart_in_time(tiles.context_ids, starts_ms, gap_s)
    return recall_at_1(tiles.vectors, tiles.context_ids, apart)


def verdicts(recalls: Recalls) -> list[Verdict]:
    """Compare the trained encoder with each rival, the strongest first, in words."""
    found = {
        name: recalls.by_kind[kind] for kind, name in RIVALS.items() if kind in recalls.by_kind
    }
    trained = recalls.by_kind["trained"]
    strongest_first = sorted(found, key=found.__getitem__, reverse=True)
    return [_verdict(name, 100 * (trained - found[name])) for name in strongest_first]


def _verdict(rival: str, points: float) -> Verdict:
    """Word a difference of `points`; what is written as 0.0 is none."""
    rounded = round(points, 1)
    if rounded > 0:
        return Verdict(f"ahead of {rival} by {rounded:.1f} points", is_bad=False)
    if rounded < 0:
        return Verdict(f"below {rival} by {-rounded:.1f} points", is_bad=True)
    return Verdict(f"no better than {rival}", is_bad=True)
