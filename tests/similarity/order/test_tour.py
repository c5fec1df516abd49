"""Orders of songs: permutations, fixed ends, artists apart, and how short they are."""

import itertools

import fast_tsp
import numpy as np
import pytest

from similarity.order.tour import Ends, greedy_order, leaf_order, length, shortest_order
from trainer.metrics.neighbours import unit_rows


def distances(n: int, seed: int = 0, clusters: int = 8) -> np.ndarray:
    """Cosine distances of songs in clusters."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(clusters, 16))
    songs = centres[random.integers(0, clusters, n)] + 0.7 * random.normal(size=(n, 16))
    unit = unit_rows(songs)
    return np.maximum(1 - unit @ unit.T, 0)


@pytest.mark.parametrize("n", range(8))
def test_small_orders_are_the_best_of_all(n):
    d = distances(n, seed=3)
    order = shortest_order(d)
    assert sorted(order) == list(range(n))
    best = min((length(p, d) for p in itertools.permutations(range(n))), default=0.0)
    assert length(order, d) == pytest.approx(best) if n > 1 else length(order, d) == 0


@pytest.mark.parametrize("ends", [Ends(5, None), Ends(None, 2), Ends(0, 7)])
def test_fixed_ends_and_still_the_best_of_all(ends):
    d = distances(8, seed=4)
    order = shortest_order(d, ends)
    fits = [
        p
        for p in itertools.permutations(range(8))
        if ends.first in (None, p[0]) and ends.last in (None, p[-1])
    ]
    assert tuple(order) in fits
    assert length(order, d) == pytest.approx(min(length(p, d) for p in fits))


def test_it_is_shorter_than_greedy_and_near_the_oracle():
    d = distances(200)
    ours = length(shortest_order(d), d)
    assert ours <= 0.97 * length(greedy_order(d, Ends()), d)
    assert ours <= 1.02 * oracle(d)


def oracle(d: np.ndarray) -> float:
    """Open path of fast-tsp: a tour through one more stop that is near to all."""
    n = len(d)
    tour_distances = np.zeros((n + 1, n + 1))
    tour_distances[1:, 1:] = d
    whole = (tour_distances * (60_000 / d.max())).astype(int).tolist()
    tour = fast_tsp.find_tour(whole, duration_seconds=1)
    start = tour.index(0)
    return length([stop - 1 for stop in tour[start + 1 :] + tour[:start]], d)


def test_the_lengths_that_it_sums_up_are_right():
    d = distances(60)
    order = shortest_order(d, artists=[song % 9 for song in range(60)], gap=2, seed=1)
    again = shortest_order(d, artists=[song % 9 for song in range(60)], gap=2, seed=1)
    assert order == again
    assert sorted(order) == list(range(60))


@pytest.mark.parametrize("gap", [1, 3, 5])
def test_artists_are_apart(gap):
    artists = np.random.default_rng(0).integers(0, 12, 80).tolist()
    order = shortest_order(distances(80), artists=artists, gap=gap)
    near = [
        (place, other)
        for place in range(80)
        for other in range(place + 1, min(place + gap + 1, 80))
        if artists[order[place]] == artists[order[other]]
    ]
    assert near == []


def test_where_they_cannot_be_apart_as_few_as_possible_are_near():
    """Of 6 songs, 4 are of one artist: at best one pair of them touches."""
    artists = [0, 0, 0, 0, 1, 2]
    order = shortest_order(distances(6), artists=artists, gap=1)
    touching = sum(artists[a] == artists[b] for a, b in itertools.pairwise(order))
    assert sorted(order) == list(range(6))
    assert touching == 1


def test_songs_of_unknown_artist_are_not_kept_apart():
    d = distances(30)
    assert shortest_order(d, artists=[-1] * 30, gap=3) == shortest_order(d)


def test_equal_songs():
    order = shortest_order(np.zeros((10, 10)))
    assert sorted(order) == list(range(10))


def test_leaves_keep_clusters_together():
    d = distances(60, clusters=3)
    order = leaf_order(d)
    assert sorted(order) == list(range(60))
    assert length(order, d) < 0.9 * length(range(60), d)
