import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from trainer.data.vector_table import VectorTable
from trainer.metrics import quality
from trainer.metrics.candidates import apart_in_time, of_other_sessions
from trainer.metrics.collapse import effective_rank, relative_std
from trainer.metrics.quality import hubness, measure_quality, silhouette, v_measure
from trainer.metrics.retrieval import retrieval_scores

RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "map_at_10", "r_precision")


def table_of(vectors: np.ndarray, labels: np.ndarray, contexts: np.ndarray) -> VectorTable:
    """Each row starts a second after the one before and is a session of its own."""
    rows = np.arange(len(vectors))
    names = np.char.mod("%d", contexts)
    return VectorTable(
        vectors=vectors.astype(np.float32),
        recording_ids=names,
        context_ids=names,
        session_ids=np.char.mod("%d", rows),
        start_ms=rows * 1000,
        labels=labels,
        audible=np.ones(len(rows), bool),
    )


def random_table(n: int, seed: int = 0) -> VectorTable:
    """Labels 0 to 2 that show in the vectors, about a third of the rows without one."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 3, n)
    vectors = np.eye(3, 6)[kinds] + rng.normal(0, 0.5, (n, 6))
    return table_of(vectors, np.where(rng.random(n) < 0.7, kinds, -1), rng.integers(0, n // 4, n))


def distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(1 - one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def nearest_by_loops(vector: np.ndarray, candidates: np.ndarray, k: int) -> list[int]:
    return sorted(range(len(candidates)), key=lambda j: distance(vector, candidates[j]))[:k]


def skewness_by_loops(vectors: np.ndarray, k: int) -> float:
    times: Counter[int] = Counter()
    for i, vector in enumerate(vectors):
        others = np.delete(np.arange(len(vectors)), i)
        times.update(int(others[j]) for j in nearest_by_loops(vector, vectors[others], k))
    deviations = [times[i] - k for i in range(len(vectors))]
    deviation = math.sqrt(sum(d**2 for d in deviations) / len(vectors))
    return sum(d**3 for d in deviations) / len(vectors) / deviation**3


def silhouette_by_loops(vectors: np.ndarray, labels: np.ndarray) -> float:
    widths = []
    for i, label in enumerate(labels):
        means = {
            other: np.mean(
                [
                    distance(vectors[i], vectors[j])
                    for j in range(len(labels))
                    if labels[j] == other and j != i
                ]
            )
            for other in set(labels.tolist())
            if other != label or (labels == label).sum() > 1
        }
        own = means.pop(label, None)
        nearest = min(means.values())
        widths.append(0 if own is None else (nearest - own) / max(nearest, own))
    return float(np.mean(widths))


def test_two_tight_clusters_are_perfect() -> None:
    """Noise of 0.01 around two axes: distances of 1e-4 inside a label, of 1 to the other."""
    kinds = np.arange(40) % 2
    vectors = np.eye(2, 8)[kinds] + np.random.default_rng(0).normal(0, 0.01, (40, 8))
    measured = measure_quality(table_of(vectors, kinds, kinds), seed=0, gap_s=10)
    for name in RETRIEVAL:
        assert measured[f"{name}_by_label"] == 1
        assert measured[f"{name}_by_context"] == 1
    assert measured["silhouette"] == pytest.approx(1, abs=0.002)
    assert measured["v_measure"] == pytest.approx(1)
    assert measured["effective_rank"] == pytest.approx(2, abs=0.5)


def test_quality_consists_of_the_single_measures() -> None:
    table = random_table(80)
    table = replace(table, session_ids=table.context_ids)
    named = table.labels >= 0
    vectors, labels = table.vectors[named], table.labels[named]
    sessions = of_other_sessions(table.session_ids[named])
    by_label = retrieval_scores(vectors, labels, sessions)
    apart = apart_in_time(table.context_ids, table.start_ms, 10)
    by_context = retrieval_scores(table.vectors, table.context_ids, apart)
    assert 40 < len(labels) < 70
    assert measure_quality(table, seed=3, gap_s=10) == {
        "rows": 80,
        "labelled_rows": len(labels),
        **{f"{name}_by_label": by_label[name] for name in RETRIEVAL},
        **{f"{name}_by_context": by_context[name] for name in RETRIEVAL},
        "silhouette": silhouette(vectors, labels),
        "v_measure": v_measure(vectors, labels, seed=3),
        "hubness": hubness(table.vectors),
        "effective_rank": effective_rank(table.vectors),
        "embedding_std": relative_std(table.vectors),
    }


def test_neither_the_session_nor_neighbours_in_time_count_as_found() -> None:
    """Three songs of 40 tiles of 1 s each walk over the sphere; songs 0 and 1 have one label.

    The nearest tile is the next one, which shows nothing. By loops: the nearest of the label in
    another session, and the nearest at least 10 s away or in another song.
    """
    rng = np.random.default_rng(4)
    songs, seconds = np.repeat([0, 1, 2], 40), np.tile(np.arange(40), 3)
    steps = rng.normal(size=(120, 5))
    for row in np.flatnonzero(seconds):
        steps[row] = 0.5 * steps[row] + 0.9 * steps[row - 1]
    vectors = steps.astype(np.float32)
    names = np.char.mod("%d", songs)
    table = replace(
        table_of(vectors, np.array([0, 0, 1])[songs], songs),
        session_ids=names,
        start_ms=seconds * 1000,
    )
    by_label, by_context = [], []
    for i in range(120):
        order = sorted(range(120), key=lambda j: distance(vectors[i], vectors[j]))
        other = next(j for j in order if songs[j] != songs[i])
        by_label += [table.labels[other] == 0] if songs[i] < 2 else []
        far = [j for j in order if songs[j] != songs[i] or abs(seconds[j] - seconds[i]) >= 10]
        by_context.append(songs[far[0]] == songs[i])
    measured = measure_quality(table, seed=0, gap_s=10)
    assert measured["recall_at_1_by_label"] == pytest.approx(np.mean(by_label))
    assert measured["recall_at_1_by_context"] == pytest.approx(np.mean(by_context))
    assert 0.2 < np.mean(by_context) < 0.8
    assert measure_quality(table, seed=0, gap_s=0)["recall_at_1_by_context"] > 0.9


def undefined(table: VectorTable) -> set[str]:
    measured = measure_quality(table, seed=0, gap_s=0)
    json.dumps(measured, allow_nan=False)
    return {name for name, value in measured.items() if value is None}


BY_LABEL = {f"{name}_by_label" for name in RETRIEVAL}
BY_CONTEXT = {f"{name}_by_context" for name in RETRIEVAL}
OF_LABELS = {"silhouette", "v_measure"}


def test_what_is_not_defined_is_none() -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 4))
    same, own, halves = np.zeros(30, int), np.arange(30), np.arange(30) % 2
    assert undefined(table_of(vectors, halves, halves)) == set()
    assert undefined(table_of(vectors, same, halves)) == OF_LABELS
    assert undefined(table_of(vectors, own, halves)) == BY_LABEL | OF_LABELS
    assert undefined(table_of(vectors, same - 1, halves)) == BY_LABEL | OF_LABELS
    assert undefined(table_of(vectors, halves, own)) == BY_CONTEXT


@pytest.mark.parametrize(
    ("n", "missing"),
    [
        (0, {*RETRIEVAL, *OF_LABELS, "hubness", "effective_rank", "embedding_std"}),
        (1, {*RETRIEVAL, *OF_LABELS, "hubness"}),
        (5, {"recall_at_5", "recall_at_10", "map_at_10", "hubness"}),
        (10, {"recall_at_10", "map_at_10", "hubness"}),
        (11, {"hubness"}),  # each row has all others among its ten nearest
        (12, set()),
    ],
)
def test_measures_of_few_rows_are_missing(n: int, missing: set[str]) -> None:
    vectors, halves = np.random.default_rng(0).normal(size=(n, 4)), np.arange(n) % 2
    names = {name.split("_by_")[0] for name in undefined(table_of(vectors, halves, halves))}
    assert names == missing


def test_of_a_large_table_4096_rows_are_drawn_by_the_seed() -> None:
    table = random_table(4500)
    first, again, other = (quality._draw(table, seed).start_ms for seed in (1, 1, 2))
    assert len(set(first.tolist())) == 4096
    np.testing.assert_array_equal(first, np.sort(first))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_goes_by_label_draws_from_the_labelled_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 rows about 280 have a label: 200 rows of both kinds would hold 140."""
    monkeypatch.setattr(quality, "_MOST_ROWS", 200)
    table = random_table(400)
    first, again, other = (measure_quality(table, seed, 10) for seed in (1, 1, 2))
    assert first == again
    assert (first["rows"], first["labelled_rows"]) == (200, 200)
    assert first["hubness"] != other["hubness"]
    assert first["silhouette"] != other["silhouette"]
    assert first["silhouette"] == pytest.approx(other["silhouette"], abs=0.05)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_one_point_is_no_quality() -> None:
    """All rows tie, so each asks the first others; of ten labels in turn a tenth is right."""
    kinds = np.arange(100) % 10
    measured = measure_quality(table_of(np.ones((100, 4)), kinds, kinds), seed=0, gap_s=10)
    assert measured["recall_at_1_by_label"] == pytest.approx(0.1, abs=0.02)
    assert measured["silhouette"] == pytest.approx(0, abs=0.01)
    assert measured["v_measure"] == pytest.approx(0)
    assert measured["effective_rank"] == pytest.approx(1)
    assert measured["embedding_std"] == pytest.approx(0, abs=1e-6)


def test_silhouette_equals_loops_and_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([4, 7, 8, 9], [1, 6, 9, 14])  # one row is alone
    vectors = rng.normal(size=(10, 5))[labels] + rng.normal(0, 0.5, (30, 5))
    value = silhouette(vectors, labels)
    assert value == pytest.approx(silhouette_by_loops(vectors, labels))
    assert value == pytest.approx(silhouette_score(vectors, labels, metric="cosine"))
    assert 0.1 < value < 0.9


def test_v_measure_by_hand() -> None:
    """Clusters of 4 and 4 rows; label 0 is 3 of the one, label 1 its rest and all of the other.

    H(cluster) = log 2. Homogeneity = 1 - H(label | cluster) / H(label), completeness likewise.
    """
    rows = np.repeat([[1.0, 0], [0, 5]], 4, axis=0)
    rows += np.random.default_rng(0).normal(0, 0.01, (8, 2))

    def entropy(*shares: float) -> float:
        return -sum(share * math.log(share) for share in shares)

    homogeneity = 1 - entropy(3 / 4, 1 / 4) / 2 / entropy(3 / 8, 5 / 8)
    completeness = 1 - entropy(1 / 5, 4 / 5) * 5 / 8 / entropy(1 / 2, 1 / 2)
    expected = 2 * homogeneity * completeness / (homogeneity + completeness)
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    assert v_measure(rows, labels, seed=0) == pytest.approx(expected)


def test_clusters_are_of_directions() -> None:
    """By length, the two long rows would be a cluster of their own."""
    rows = np.array([[1.0, 0], [1, 0.1], [90, 0], [0, 1], [0.1, 1], [0, 90]])
    assert v_measure(rows, np.array([0, 0, 0, 1, 1, 1]), seed=0) == pytest.approx(1)


@pytest.mark.parametrize("k", [1, 10])
def test_hubness_equals_loops(k: int) -> None:
    vectors = np.random.default_rng(0).normal(1, 1, size=(60, 8))
    assert hubness(vectors, k) == pytest.approx(skewness_by_loops(vectors, k))


def test_a_planted_hub_raises_the_skewness() -> None:
    """All 200 rows lie around one direction; a row in its midst is near to all of them.

    It occurs 200 times, the others 10 times less one: beside them a skewness of sqrt(200) = 14 at
    most, where 200 of 201 rows occur equally often.
    """
    rows = np.random.default_rng(0).normal(0.5, 1, size=(200, 64))
    with_hub = np.concatenate([rows, np.ones((1, 64))])
    assert hubness(rows) < 2
    assert 6 < hubness(with_hub) < 14.2


def test_an_even_circle_has_no_hubs() -> None:
    angle = 2 * np.pi * np.arange(40) / 40
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert hubness(circle) is None
    assert hubness(circle[:10]) is None
