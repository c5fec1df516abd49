"""Retrieval by hand: five songs on a line."""

import numpy as np
import pytest

from similarity.evaluate.hubs import measure_hubs
from similarity.evaluate.retrieval import estimate, retrieval

PLACES = np.array([0.0, 1.0, 2.1, 3.3, 10.0])
GROUPS = np.array([0, 1, 0, 0, -1])
SESSIONS = np.array([0, 1, 2, 2, 3])
ALL = np.arange(5)


def scores(row):
    return -np.abs(PLACES - PLACES[row])


def test_by_hand():
    """Query 0 ranks 1, 2, 3, 4: hits at places 2 and 3. Query 2 ranks 1, 3, 0, 4 without its
    session: 1, 0, 4, a hit at place 2; query 3 likewise. Query 1 has no other of its group."""
    found = retrieval(scores, GROUPS, [SESSIONS], ALL, k=2)
    assert found.queries == 3
    assert found.precision.mean == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert found.recall.mean == pytest.approx((1 / 2 + 1 + 1) / 3)
    assert found.average_precision.mean == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 / 2 + 1 / 2) / 3)


def test_sessions_that_count_make_it_look_better():
    loose = retrieval(scores, GROUPS, [], ALL, k=1)
    strict = retrieval(scores, GROUPS, [SESSIONS], ALL, k=1)
    assert loose.precision.mean == pytest.approx(1 / 3)  # song 3 finds 2 of its session
    assert strict.precision.mean == 0


def test_unknown_artists_exclude_nobody():
    artists = np.array([-1, -1, 5, -1, 5])
    assert retrieval(scores, GROUPS, [artists], ALL, k=2).queries == 3


def test_no_queries():
    found = retrieval(scores, np.full(5, -1), [], ALL, k=2)
    assert (found.queries, found.precision) == (0, None)


def test_the_interval_holds_the_mean():
    values = np.random.default_rng(0).random(400)
    found = estimate(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 * values.std() / 20, rel=0.15)


def test_hubs_by_hand():
    """With k = 1: 0 lists 1, 1 lists 0, 2 lists 1, 3 lists 2, 4 lists 3."""
    found = measure_hubs(scores, ALL, 5, k=1)
    assert found.largest == pytest.approx(2 / 5)
    assert found.nowhere == pytest.approx(1 / 5)
    counts = np.array([1, 2, 1, 1, 0])
    centred = counts - counts.mean()
    assert found.skewness == pytest.approx((centred**3).mean() / (centred**2).mean() ** 1.5)
