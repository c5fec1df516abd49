import numpy as np
import pytest

from trainer.plots.projection import (
    label_distances,
    pca_plane,
    spread_over_labels,
    tsne_plane,
    whole_contexts,
)


def three_clusters() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    return rng.normal(size=(3, 16))[labels] * 5 + rng.normal(size=(60, 16)), labels


def test_principal_axes_keep_the_distances_of_what_lies_in_a_plane() -> None:
    """Unit rows in a plane through the origin, turned into five dimensions."""
    rng = np.random.default_rng(0)
    angles = rng.uniform(0, 2, 40)
    flat = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    turn, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    points, shares = pca_plane(3 * flat @ turn[:2])
    assert sum(shares) == pytest.approx(1)
    expected = np.linalg.norm(flat[:, None] - flat[None], axis=2)
    np.testing.assert_allclose(
        np.linalg.norm(points[:, None] - points[None], axis=2), expected, atol=1e-9
    )


def test_tsne_keeps_clusters_together_and_is_the_same_for_the_same_seed() -> None:
    vectors, labels = three_clusters()
    points = tsne_plane(vectors, seed=1)
    np.testing.assert_array_equal(points, tsne_plane(vectors, seed=1))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (labels[distances.argmin(axis=1)] == labels).all()


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_planes_of_few_or_equal_rows_are_finite(n: int) -> None:
    for vectors in (np.random.default_rng(0).normal(size=(n, 5)), np.ones((n, 5)), np.ones((n, 1))):
        points, shares = pca_plane(vectors)
        assert points.shape == tsne_plane(vectors, seed=0).shape == (n, 2)
        assert np.isfinite([*points.ravel(), *tsne_plane(vectors, seed=0).ravel(), *shares]).all()


def test_label_distances_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(30, 6)), rng.choice([-1, 0, 2, 5], 30)
    present, distances = label_distances(vectors, labels)
    assert present.tolist() == [0, 2, 5]
    for row, one in enumerate(present):
        for column, other in enumerate(present):
            means = []
            for label in (one, other):
                rows = vectors[labels == label]
                means.append(np.mean([vector / np.linalg.norm(vector) for vector in rows], axis=0))
            a, b = means
            expected = 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert distances[row, column] == pytest.approx(expected, abs=1e-12)


def test_a_choice_takes_one_of_each_label_in_turn() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [-1] + [2] * 2)
    chosen = spread_over_labels(labels, 6, seed=0)
    values, counts = np.unique(labels[chosen], return_counts=True)
    assert values.tolist() == [-1, 0, 1, 2]
    assert counts.max() == 2
    np.testing.assert_array_equal(chosen, spread_over_labels(labels, 6, seed=0))
    assert spread_over_labels(labels, 100, seed=0).tolist() == list(range(56))
    assert spread_over_labels(np.array([], int), 6, seed=0).tolist() == []


def test_contexts_are_drawn_whole() -> None:
    """Of 100 contexts of 6 rows and one of 600: ten rows at most of one, 60 in all."""
    contexts = np.concatenate([np.repeat(np.arange(100), 6), np.full(600, 100)])
    rows = whole_contexts(contexts, most=60, most_of_one=10, seed=3)
    assert len(set(rows.tolist())) == 60
    found, counts = np.unique(contexts[rows], return_counts=True)
    assert sum(count not in (6, 10) for count in counts) <= 1
    assert len(found) >= 9
    assert len(whole_contexts(contexts, most=5000, most_of_one=10, seed=3)) == 610
