"""Hubness reduction against loops over all pairs."""

import math

import numpy as np
import pytest
from scipy.stats import norm, skew

from similarity.measure.hubness import Surroundings, reduced, reference_songs, surroundings
from trainer.metrics.neighbours import unit_rows


@pytest.fixture
def unit():
    return unit_rows(np.random.default_rng(0).normal(size=(40, 5)))


def loop_statistics(unit, row):
    cosines = [float(unit[row] @ unit[other]) for other in range(len(unit)) if other != row]
    mean = sum(cosines) / len(cosines)
    deviation = math.sqrt(sum((c - mean) ** 2 for c in cosines) / len(cosines))
    return mean, deviation, sum(sorted(cosines)[-10:]) / 10


def test_surroundings_are_those_of_a_loop(unit):
    found = surroundings(unit, unit, np.arange(len(unit)))
    expected = np.array([loop_statistics(unit, row) for row in range(len(unit))])
    np.testing.assert_allclose(found.mean, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(found.deviation, expected[:, 1], atol=1e-12)
    np.testing.assert_allclose(found.nearest, expected[:, 2], atol=1e-12)


def of_row(found, row):
    return Surroundings(*(values[[row]] for values in (found.mean, found.deviation, found.nearest)))


@pytest.mark.parametrize("reduction", ["mutual-proximity", "csls", "none"])
def test_each_measure_is_that_of_a_loop_and_symmetric(unit, reduction):
    found = surroundings(unit, unit, np.arange(len(unit)))
    cosines = unit @ unit.T
    scores = np.stack([reduced(cosines[q], of_row(found, q), found, reduction) for q in range(40)])
    for one, other in [(0, 1), (3, 17), (25, 39)]:
        (m1, s1, n1), (m2, s2, n2) = (loop_statistics(unit, row) for row in (one, other))
        cosine = float(cosines[one, other])
        expected = {
            "mutual-proximity": norm.cdf(cosine, m1, s1) * norm.cdf(cosine, m2, s2),
            "csls": 2 * cosine - n1 - n2,
            "none": cosine,
        }[reduction]
        assert scores[one, other] == pytest.approx(expected, abs=1e-9)
        assert scores[other, one] == pytest.approx(scores[one, other], abs=1e-12)


@pytest.mark.parametrize("reduction", ["mutual-proximity", "csls"])
def test_hubs_become_fewer(reduction):
    """Vectors of 100 dimensions with a common part: those in which it weighs most are hubs."""
    random = np.random.default_rng(1)
    lengths = np.exp(random.normal(0, 0.5, size=(400, 1)))
    unit = unit_rows(random.normal(size=(400, 100)) * lengths + 0.2)
    found = surroundings(unit, unit, np.arange(400))
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)

    def hubness(name):
        scores = [reduced(cosines[q], of_row(found, q), found, name) for q in range(400)]
        nearest = np.argsort(-np.stack(scores), axis=1)[:, :10]
        return skew(np.bincount(nearest.ravel(), minlength=400))

    assert hubness("none") > 2
    assert hubness(reduction) < 0.5 * hubness("none")


def test_a_small_library_is_compared_with_all_of_itself():
    assert reference_songs(["a", "b", "c"]).tolist() == [0, 1, 2]


def test_an_added_song_moves_at_most_one_reference_song():
    names = [f"song {number}" for number in range(4_150)]
    before = {names[row] for row in reference_songs(names[:-1])}
    after = {names[row] for row in reference_songs(names)}
    assert len(before) == len(after) == 4_096
    assert len(before - after) <= 1
