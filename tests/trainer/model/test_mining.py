import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import loss_loops
from trainer.choices import MININGS
from trainer.model.mining import mine_hard, mine_random, mine_semi_hard, squared_distances

DRAWS = tf.constant([0.5, 0.5])


def test_squared_distances_equal_loops() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(4, 7)), rng.normal(size=(5, 7))
    expected = [[loss_loops.distance(a, b) for b in right] for a in left]
    np.testing.assert_allclose(squared_distances(left, right), expected, rtol=1e-12)


def test_random_mining_draws_every_allowed_candidate_alike_and_no_other() -> None:
    allowed = np.tile([True, False, True, True, False], (6000, 1))
    draws = tf.random.stateless_uniform([6000], [1, 2])
    drawn = mine_random(None, None, allowed, draws).numpy()
    assert (drawn.sum(axis=1) == 1).all()
    counts = drawn.sum(axis=0)
    assert counts[1] == counts[4] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]], 2000, atol=5 * np.sqrt(6000 * 2 / 9))


def test_the_least_and_the_greatest_draw_take_the_first_and_the_last_candidate() -> None:
    """Of 1 to 8192 allowed ones behind one that is not; 1 - 2^-23 is the greatest draw."""
    for n in (1, 2, 3, 1000, 8191, 8192):
        allowed = np.arange(2 + n)[None, :] % (n + 1) != 0
        allowed = np.repeat(allowed, 3, axis=0)
        draws = tf.constant([0.0, np.nextafter(np.float32(1), 0), 1 - 2**-23], tf.float32)
        mined = mine_random(None, None, allowed, draws).numpy()
        rows, columns = mined.nonzero()
        assert rows.tolist() == [0, 1, 2]
        assert columns.tolist() == [1, n, n]


def test_semi_hard_takes_the_farthest_where_none_is_beyond() -> None:
    to_candidates = tf.constant([[0.5, 0.9, 1.5, 0.7]])
    allowed = np.array([[True, True, False, True]])
    for to_neighbour, column in ((0.6, 3), (1.0, 1)):
        to_neighbours = np.array([to_neighbour], np.float32)
        mined = mine_semi_hard(to_neighbours, to_candidates, allowed, DRAWS[:1])
        assert mined.numpy()[0].nonzero()[0].tolist() == [column]


def test_hard_takes_the_nearest_of_another_session() -> None:
    to_candidates = tf.constant([[0.1, 0.9, 1.5, 0.7]])
    mined = mine_hard(None, to_candidates, np.array([[False, True, True, True]]), DRAWS[:1])
    assert mined.numpy()[0].nonzero()[0].tolist() == [3]


@pytest.mark.parametrize(
    ("mining", "expected"), [("random", {2, 3}), ("semi_hard", {2}), ("hard", {2}), ("all", {2, 3})]
)
def test_opposites_are_allowed_candidates_and_rows_may_have_none(
    mining: str, expected: set[int]
) -> None:
    to_candidates = tf.constant([[0.1, 0.9, 1.5, 0.7], [0.2, 0.3, 0.4, 0.5]])
    allowed = tf.constant([[False] * 4, [False, False, True, True]])
    opposite = MININGS[mining](tf.constant([0.2, 0.2]), to_candidates, allowed, DRAWS).numpy()
    assert opposite.shape == (2, 4)
    assert not opposite[0].any()
    assert set(opposite[1].nonzero()[0]) <= expected
    assert opposite[1].sum() == (2 if mining == "all" else 1)
