"""The comparison of the trained encoder with the untrained one and with statistics."""

from dataclasses import replace

import numpy as np
import pytest

from trainer.data.vector_table import VectorTable
from trainer.report.baselines import Recalls, Verdict, measure_recalls, verdicts


def table_of(angles: list[float], songs: str, audible: list[bool] | None = None) -> VectorTable:
    """Tiles 20 s apart, in directions of a plane; the song of each is a letter."""
    n = len(songs)
    ids = np.array(list(songs))
    directions = np.array([np.cos(angles), np.sin(angles)], np.float32).T
    starts = 20_000 * np.arange(n)
    heard = np.ones(n, np.bool_) if audible is None else np.array(audible)
    return VectorTable(directions, ids, ids, ids, starts, np.full(n, -1), heard)


def test_recalls_are_of_the_same_audible_tiles() -> None:
    tiles = {
        "trained": table_of([0.0, 0.1, 1.0, 1.1], "aabb"),
        "random": table_of([0.0, 1.0, 0.1, 1.1], "aabb"),
        "none": table_of([0.0, 0.1, 0.4, 0.15], "aabb"),
    }
    recalls = measure_recalls(tiles, 10.0)
    assert recalls is not None
    assert recalls.by_kind == {"trained": 1.0, "random": 0.0, "none": 0.5}
    assert recalls.songs == 2
    silent = {"trained": table_of([0.0, 0.1, 0.05], "aab", [True, True, False])}
    assert measure_recalls(silent, 10.0) is None  # a single audible song


def test_tiles_near_in_time_are_not_found() -> None:
    """The first two tiles of each song follow each other; without them, the others are nearer."""
    table = table_of([0.0, 0.1, 1.0, 2.0, 2.1, 0.95], "aaabbb")
    tiles = {"trained": replace(table, start_ms=np.array([0, 1000, 60_000] * 2))}
    by_gap = {gap_s: measure_recalls(tiles, gap_s) for gap_s in (0.0, 10.0)}
    found = [recalls.by_kind["trained"] for recalls in by_gap.values() if recalls]
    assert found == [pytest.approx(4 / 6), 0.0]


def test_nothing_is_measured_where_nothing_can_be_wrong() -> None:
    assert measure_recalls({"trained": table_of([0.0, 0.1], "aa")}, 10.0) is None
    assert measure_recalls({"trained": table_of([0.0, 0.1], "ab")}, 10.0) is None


@pytest.mark.parametrize(
    ("trained", "text", "is_bad"),
    [
        (0.75, "ahead of untrained by 25.0 points", False),
        (0.25, "below untrained by 25.0 points", True),
        (0.5002, "no better than untrained", True),
    ],
)
def test_verdicts(trained: float, text: str, is_bad: bool) -> None:
    recalls = Recalls({"trained": trained, "random": 0.5}, 10.0, 3)
    assert verdicts(recalls) == [Verdict(text, is_bad)]


def test_the_strongest_rival_comes_first() -> None:
    recalls = Recalls({"trained": 0.6, "random": 0.5, "none": 0.3, "modulation": 0.65}, 10.0, 3)
    assert [verdict.text for verdict in verdicts(recalls)] == [
        "below log-mel and modulation statistics by 5.0 points",
        "ahead of untrained by 10.0 points",
        "ahead of log-mel statistics by 30.0 points",
    ]
