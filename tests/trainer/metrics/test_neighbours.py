import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import normalize

from trainer.metrics.neighbours import knn_labels, nearest_others, unit_rows


def others_by_loops(embeddings: np.ndarray, row: int) -> list[int]:
    similarities = cosine_similarity(embeddings[row : row + 1], embeddings)[0]
    return sorted({*range(len(embeddings))} - {row}, key=lambda other: -similarities[other])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unit_rows_are_those_of_scikit_learn(dtype: type) -> None:
    rows = np.random.default_rng(0).normal(0, 5, (20, 7)).astype(dtype)
    rows[3] = 0
    np.testing.assert_allclose(unit_rows(rows), normalize(rows), rtol=1e-6)
    assert unit_rows(rows).dtype == dtype


def test_nearest_others_equal_a_loop() -> None:
    rows = np.random.default_rng(0).normal(size=(300, 5)).astype(np.float32)
    expected = [others_by_loops(rows.astype(np.float64), i)[:7] for i in range(300)]
    np.testing.assert_array_equal(nearest_others(rows, 7).rows, expected)


def test_equal_rows_are_in_the_order_of_their_numbers() -> None:
    assert nearest_others(np.ones((4, 3)), 2).rows.tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_copies_tie_wherever_they_are(dtype: type) -> None:
    """A product of matrices sums in another order at its edges: the last digits of copies differ.

    Row i + 503 is row i at another length, and each of the other rows finds i just before i + 503.
    """
    rows = np.random.default_rng(0).normal(size=(503, 48)).astype(dtype)
    rankings = nearest_others(np.concatenate([rows, rows * 4]), 1005).rows
    own = np.arange(1006)[:, None] % 503
    others = rankings[rankings % 503 != own].reshape(1006, 1004)
    np.testing.assert_array_equal(others[:, ::2] + 503, others[:, 1::2])
    np.testing.assert_array_equal(rankings[:, 0], (np.arange(1006) + 503) % 1006)


def test_neighbours_of_some_rows_have_their_cosines() -> None:
    vectors = np.random.default_rng(0).normal(size=(25, 4)).astype(np.float32)
    queries = np.array([3, 17])
    found = nearest_others(vectors, 5, queries)
    similarities = cosine_similarity(vectors.astype(np.float64))
    for query, rows, cosines in zip(queries, found.rows, found.cosines, strict=True):
        others = [row for row in range(25) if row != query]
        expected = sorted(others, key=lambda row: -similarities[query, row])[:5]
        assert rows.tolist() == expected
        np.testing.assert_allclose(cosines, similarities[query, expected], atol=1e-9)
    assert nearest_others(vectors[:3], 5, np.array([0])).rows.shape == (1, 2)


@pytest.mark.parametrize("k", [1, 5, 200])
def test_nearest_training_rows_vote(k: int) -> None:
    """As in scikit-learn; with more votes than training rows, all of them vote."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 390)
    vectors = rng.normal(size=(4, 6))[labels] + rng.normal(0, 1, (390, 6))
    vectors *= rng.uniform(0.1, 10, (390, 1))
    train, test = vectors[:60], vectors[60:]
    expected = KNeighborsClassifier(min(k, 60), metric="cosine").fit(train, labels[:60])
    nearest = knn_labels(train, labels[:60], test, k)
    np.testing.assert_array_equal(nearest, expected.predict(test))
    assert k > 5 or np.mean(nearest == labels[60:]) > 0.4
