"""Places and groups of songs."""

import numpy as np
import pytest

from similarity.index.songs import folder_of
from similarity.map.layout import clusters, places
from trainer.metrics.neighbours import unit_rows


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 60])
def test_places_are_within_the_square_and_the_same_again(n):
    unit = unit_rows(np.random.default_rng(0).normal(size=(n, 6)))
    points = places(unit)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
    assert np.abs(points).max() <= 1 + 1e-9
    np.testing.assert_array_equal(points, places(unit))


def test_alike_songs_are_neighbours():
    centres = np.random.default_rng(0).normal(size=(3, 16))
    groups = np.repeat(np.arange(3), 20)
    noise = np.random.default_rng(1).normal(size=(60, 16))
    points = places(unit_rows(centres[groups] + 0.1 * noise))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (groups[distances.argmin(axis=1)] == groups).all()


def test_equal_songs():
    assert np.isfinite(places(np.ones((12, 4)) / 2)).all()


def test_clusters_are_those_of_the_songs():
    unit = unit_rows(np.repeat(np.eye(3), 6, axis=0))
    names = clusters(unit)
    assert [len(set(names[first : first + 6])) for first in (0, 6, 12)] == [1, 1, 1]
    assert len(set(names)) == 3


def test_folders():
    assert folder_of("Ada/One/song.ogg") == "Ada/One"
    assert folder_of("song.ogg") is None
