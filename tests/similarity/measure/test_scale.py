"""The scale of similarity."""

import numpy as np

from similarity.measure.scale import largest_distance, percentile, similarity
from trainer.metrics.neighbours import unit_rows


def test_one_is_the_same_and_zero_the_most_different():
    unit = unit_rows(np.array([[1.0, 0], [1, 1], [0, 2]]))
    largest = largest_distance(unit, np.arange(3))
    np.testing.assert_allclose(largest, 1, atol=1e-6)
    np.testing.assert_allclose(similarity(unit @ unit[0], largest), [1, np.sqrt(0.5), 0], atol=1e-6)


def test_beyond_the_library_it_is_clipped():
    assert similarity(np.array([-1.0, 1.0]), 0.5).tolist() == [0, 1]


def test_equal_songs_are_all_the_same():
    unit = unit_rows(np.ones((3, 2)))
    alike = similarity(unit @ unit[0], largest_distance(unit, np.arange(3)))
    np.testing.assert_allclose(alike, 1, atol=1e-6)


def test_percentile_is_the_share_that_is_less_similar():
    assert percentile(0.5, np.array([0.1, 0.4, 0.5, 0.9])) == 50.0


def test_rows_of_zeros_stay():
    assert unit_rows(np.array([[0.0, 0], [3, 4]])).tolist() == [[0, 0], [0.6, 0.8]]
