import numpy as np
import pytest

from trainer.metrics.candidates import (
    apart_in_time,
    every_row,
    of_other_sessions,
    starts_in_context,
)
from trainer.metrics.retrieval import recall_at_1, retrieval_scores


def found_by_each(candidates: np.ndarray) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in candidates]


def test_a_query_finds_every_row_but_itself() -> None:
    assert found_by_each(every_row(3)(np.arange(3))) == [[1, 2], [0, 2], [0, 1]]
    assert found_by_each(every_row(3)(np.array([2]))) == [[0, 1]]


def test_a_query_finds_no_row_of_its_session() -> None:
    candidates = of_other_sessions(np.array(["a", "b", "a", "c"]))
    assert found_by_each(candidates(np.array([0, 1, 3]))) == [[1, 3], [0, 2, 3], [0, 1, 2]]


def test_tiles_nearer_than_the_gap_are_left_out() -> None:
    """Starts at 0, 4, 10, 13 and 30 s of context a, and 5 s of context b, in no order."""
    contexts = np.array(["a", "b", "a", "a", "a", "a"])
    start_ms = np.array([10, 5, 0, 30, 4, 13]) * 1000
    candidates = apart_in_time(contexts, start_ms, 10)
    assert found_by_each(candidates(np.arange(6))) == [
        [1, 2, 3],  # 10 s: 0 s is exactly 10 s away, 30 s is farther
        [0, 2, 3, 4, 5],  # the other context
        [0, 1, 3, 5],
        [0, 1, 2, 4, 5],
        [1, 3],  # 4 s: 13 s is 9 s away
        [1, 2, 3],
    ]


@pytest.mark.parametrize(
    ("tiles", "expected"),
    [
        (1, [[]]),
        (2, [[1], [0]]),
        (3, [[1, 2], [0, 2], [0, 1]]),
        (4, [[2, 3], [3], [0], [0, 1]]),
        (5, [[2, 3, 4], [3, 4], [0, 4], [0, 1], [0, 1, 2]]),
    ],
)
def test_the_gap_of_a_short_context_is_half_of_it(tiles: int, expected: list[list[int]]) -> None:
    """A clip of 5 s has tiles at 0 to 4 s, so its gap is 2 s; each tile still has one to find."""
    candidates = apart_in_time(np.zeros(tiles), np.arange(tiles) * 1000, 10)
    assert found_by_each(candidates(np.arange(tiles))) == expected


@pytest.mark.parametrize("tile_s", [0.29, 0.96, 1 / 3, 0.7])
@pytest.mark.parametrize("tiles", [2, 7, 8, 23])
def test_whatever_a_tile_lasts_each_has_one_to_find(tile_s: float, tiles: int) -> None:
    start_ms = np.rint(np.arange(tiles) * tile_s * 1000).astype(np.int64)
    assert apart_in_time(np.zeros(tiles), start_ms, 10)(np.arange(tiles)).any(axis=1).all()


def test_recordings_of_a_context_are_put_end_to_end() -> None:
    """Context a: r1 with tiles at 0 to 2 s, then r2 at 0 and 1 s; b: r1's other channel, then r3.

    Without the length of a tile, r2 begins where the last tile of r1 does.
    """
    contexts = np.array(["a", "a", "a", "a", "a", "b", "b", "b"])
    recordings = np.array(["r1", "r1", "r1", "r2", "r2", "r1", "r1", "r3"])
    start_ms = np.array([0, 1, 2, 0, 1, 0, 1, 0]) * 1000
    starts = starts_in_context(contexts, recordings, start_ms)
    assert starts.tolist() == [0, 1000, 2000, 2000, 3000, 0, 1000, 1000]
    assert start_ms.tolist() == [0, 1000, 2000, 0, 1000, 0, 1000, 0]


def test_without_rows_there_is_nothing_to_find() -> None:
    none = np.zeros(0, np.int64)
    assert starts_in_context(none, none, none).tolist() == []
    assert apart_in_time(none, none, 10)(none).shape == (0, 0)
    assert set(retrieval_scores(np.zeros((0, 2)), none, of_other_sessions(none)).values()) == {None}


def test_recall_by_hand() -> None:
    """Directions in degrees of two songs of four tiles of 10 s; the gap is 15 s.

    The tile after each is left out. Of a, 0 finds 20 and 20 finds 0, but 10 and 60 find 50 of b.
    Of b, 130 finds 70, but 50, 70 and 120 find 60 of a.
    """
    degrees = np.radians([0, 10, 20, 60, 50, 70, 120, 130])
    rows = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    songs = np.repeat(["a", "b"], 4)
    apart = apart_in_time(songs, np.tile([0, 10, 20, 30], 2) * 1000, 15)
    assert recall_at_1(rows, songs, apart) == pytest.approx(3 / 8)
    assert retrieval_scores(rows, songs, apart)["recall_at_1"] == pytest.approx(3 / 8)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_loops_over_the_candidates(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups, sessions = rng.integers(0, 5, 60), rng.integers(0, 20, 60)
    rows = rng.normal(size=(5, 4))[groups] + rng.normal(0, 0.8, (60, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    found: list[dict[str, float]] = []
    for i in range(60):
        others = [j for j in range(60) if sessions[j] != sessions[i]]
        relevant = sum(groups[j] == groups[i] for j in others)
        if not relevant:
            continue
        others.sort(key=lambda j: -unit[i] @ unit[j])
        hits = [groups[j] == groups[i] for j in others]
        precisions = [sum(hits[: place + 1]) / (place + 1) for place in range(10) if hits[place]]
        found.append({f"recall_at_{k}": float(any(hits[:k])) for k in (1, 5, 10)})
        found[-1]["map_at_10"] = sum(precisions) / min(10, relevant)
        found[-1]["r_precision"] = sum(hits[:relevant]) / relevant
    scores = retrieval_scores(rows, groups, of_other_sessions(sessions))
    for name, score in scores.items():
        assert score == pytest.approx(np.mean([one[name] for one in found]))
    assert recall_at_1(rows, groups, of_other_sessions(sessions)) == scores["recall_at_1"]


def test_with_fewer_candidates_than_places_there_is_no_score() -> None:
    """Twelve rows, three of a session: nine candidates, and ten places would hold all of them."""
    rows = np.random.default_rng(0).normal(size=(12, 3))
    sessions = np.arange(12) // 3
    scores = retrieval_scores(rows, np.zeros(12), of_other_sessions(sessions))
    assert {name for name, score in scores.items() if score is None} == {
        "recall_at_10",
        "map_at_10",
    }
