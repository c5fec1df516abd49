import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from trainer.metrics.retrieval import (
    average_precision,
    r_precision,
    recall_at_1,
    retrieval_scores,
)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def others_by_loops(embeddings: np.ndarray, row: int) -> list[int]:
    others = [j for j in range(len(embeddings)) if j != row]
    return sorted(others, key=lambda j: -cosine(embeddings[row], embeddings[j]))


def scores_by_loops(embeddings: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    rows: list[dict[str, float]] = []
    for i, group in enumerate(groups):
        relevant = int((groups == group).sum()) - 1
        if relevant == 0:
            continue
        hits = [groups[j] == group for j in others_by_loops(embeddings, i)]
        precisions = [sum(hits[: place + 1]) / (place + 1) for place in range(10) if hits[place]]
        rows.append({f"recall_at_{k}": float(any(hits[:k])) for k in (1, 5, 10)})
        rows[-1]["map_at_10"] = sum(precisions) / min(10, relevant)
        rows[-1]["r_precision"] = sum(hits[:relevant]) / relevant
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def groups_of_unequal_sizes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Groups of 1 to 25 rows, in no order, that overlap."""
    rng = np.random.default_rng(seed)
    groups = rng.permutation(np.repeat(np.arange(10), [1, 1, 2, 2, 3, 5, 8, 11, 12, 25]))
    return rng.normal(size=(10, 4))[groups] + rng.normal(0, 0.7, (70, 4)), groups


@pytest.mark.parametrize("seed", range(3))
def test_recall_equals_a_loop_over_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, 30, 60)
    embeddings = rng.normal(size=(30, 4))[contexts] + rng.normal(0, 0.3, (60, 4))
    recall = recall_at_1(embeddings, contexts)
    assert recall == pytest.approx(scores_by_loops(embeddings, contexts)["recall_at_1"])
    assert 0.1 < recall < 0.9


def test_more_rows_than_a_block() -> None:
    """2500 tiles on a circle, two per context side by side; the next context is farther away."""
    pairs = np.repeat(np.arange(1250), 2)
    angle = 2 * np.pi * (pairs + 0.2 * np.tile([0, 1], 1250)) / 1250
    embeddings = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert recall_at_1(embeddings, pairs) == 1
    assert set(retrieval_scores(embeddings, pairs).values()) == {1}


def test_length_of_the_embeddings_does_not_count() -> None:
    embeddings = np.array([[1.0, 0], [100, 1], [0, 1], [1, 100]])
    assert recall_at_1(embeddings, np.array(["a", "a", "b", "b"])) == 1
    assert recall_at_1(embeddings, np.array(["a", "b", "a", "b"])) == 0


def test_contexts_of_one_tile_are_candidates_but_not_asked() -> None:
    embeddings = np.array([[1.0, 0], [0.9, 0.1], [0, 1]])
    contexts = np.array(["a", "lone", "a"])
    assert recall_at_1(embeddings, contexts) == 0
    assert retrieval_scores(embeddings, contexts)["recall_at_1"] == 0
    assert math.isnan(recall_at_1(embeddings, np.array(["a", "b", "c"])))


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_loops_over_all_pairs(seed: int) -> None:
    embeddings, groups = groups_of_unequal_sizes(seed)
    scores = retrieval_scores(embeddings, groups)
    assert scores == pytest.approx(scores_by_loops(embeddings, groups))
    assert scores["recall_at_1"] == recall_at_1(embeddings, groups)
    assert 0.1 < scores["map_at_10"] < 0.9
    assert 0.1 < scores["r_precision"] < 0.9


def test_scores_do_not_depend_on_the_order_of_rows() -> None:
    embeddings, groups = groups_of_unequal_sizes(0)
    order = np.random.default_rng(1).permutation(len(groups))
    scores = retrieval_scores(embeddings, groups)
    assert retrieval_scores(embeddings[order], groups[order]) == pytest.approx(scores)


def test_precision_of_all_places_equals_scikit_learn() -> None:
    """Eleven rows: ten others fill ten places, and no group has more."""
    rng = np.random.default_rng(0)
    embeddings, groups = rng.normal(size=(11, 3)), np.repeat(["a", "b", "c"], [2, 4, 5])
    expected = []
    for i in range(11):
        others = np.delete(np.arange(11), i)
        similarity = [cosine(embeddings[i], embeddings[j]) for j in others]
        expected.append(average_precision_score(groups[others] == groups[i], similarity))
    scores = retrieval_scores(embeddings, groups)
    assert scores["map_at_10"] == pytest.approx(np.mean(expected))


@pytest.mark.parametrize(
    ("relevant", "expected"),
    [(2, (1 / 1 + 2 / 3) / 2), (3, (1 / 1 + 2 / 3) / 3), (9, (1 / 1 + 2 / 3) / 4)],
    ids=["all found", "one missed", "more than places"],
)
def test_average_precision_by_hand(relevant: int, expected: float) -> None:
    hits = np.array([[True, False, True, False]])
    assert average_precision(hits, np.array([relevant])) == pytest.approx([expected])


def test_r_precision_by_hand() -> None:
    """The same ranking with one, two, three and four relevant rows."""
    hits = np.tile([True, False, True, True], (4, 1))
    shares = r_precision(hits, np.array([1, 2, 3, 4]))
    assert shares == pytest.approx([1 / 1, 1 / 2, 2 / 3, 3 / 4])


def test_labels_that_say_nothing_are_found_by_chance() -> None:
    """Of 1999 others 499 are of the own label; the deviation of 2000 draws is 0.01, we allow 3."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), 500))
    scores = retrieval_scores(rng.normal(size=(2000, 16)), labels)
    assert scores["recall_at_1"] == pytest.approx(499 / 1999, abs=0.03)
    assert scores["r_precision"] == pytest.approx(499 / 1999, abs=0.01)
    assert scores["recall_at_5"] == pytest.approx(1 - (1500 / 1999) ** 5, abs=0.03)


def test_one_group_is_always_right() -> None:
    rows = np.random.default_rng(0).normal(size=(12, 3))
    assert set(retrieval_scores(rows, np.zeros(12)).values()) == {1}


def test_without_enough_others_there_is_no_score() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 3))
    scores = retrieval_scores(rows, np.zeros(10))
    assert [name for name, score in scores.items() if score is None] == [
        "recall_at_10",
        "map_at_10",
    ]
    assert set(retrieval_scores(rows, np.arange(10)).values()) == {None}
    assert set(retrieval_scores(rows[:0], np.arange(0)).values()) == {None}


def test_the_first_of_equal_rows_decides() -> None:
    """Rows 1 and 2 are equal and nearest to row 0; only one of them is of its group."""
    rows = np.array([[1.0, 0.1], [1, 0], [1, 0], [0, 1], [0, -1]])
    assert retrieval_scores(rows, np.array([0, 0, 1, 2, 3]))["recall_at_1"] == 0.5
    assert retrieval_scores(rows, np.array([0, 1, 0, 2, 3]))["recall_at_1"] == 0
