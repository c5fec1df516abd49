import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import loss_loops
from trainer.model.mining import mine, mine_hard, mine_random, mine_semi_hard, squared_distances

SEED = tf.constant([1, 2], tf.int64)


def test_squared_distances_equal_loops() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(4, 7)), rng.normal(size=(5, 7))
    expected = [[loss_loops.distance(a, b) for b in right] for a in left]
    np.testing.assert_allclose(squared_distances(left, right), expected, rtol=1e-12)


def test_random_mining_draws_every_allowed_candidate_alike_and_no_other() -> None:
    allowed = np.tile([True, False, True, True, False], (6000, 1))
    drawn = mine_random(allowed, SEED).numpy()
    counts = np.bincount(drawn, minlength=5)
    assert counts[1] == counts[4] == 0
    np.testing.assert_allclose(counts[[0, 2, 3]], 2000, atol=5 * np.sqrt(6000 * 2 / 9))


def test_random_mining_depends_on_the_seed_alone() -> None:
    allowed = np.ones((50, 50), bool)
    assert (mine_random(allowed, SEED).numpy() == mine_random(allowed, SEED).numpy()).all()
    assert (mine_random(allowed, SEED).numpy() != mine_random(allowed, SEED + 1).numpy()).any()


def test_semi_hard_takes_the_farthest_where_none_is_beyond() -> None:
    to_candidates = tf.constant([[0.5, 0.9, 1.5, 0.7]])
    allowed = np.array([[True, True, False, True]])
    assert mine_semi_hard(np.array([0.6], np.float32), to_candidates, allowed).numpy() == [3]
    assert mine_semi_hard(np.array([1.0], np.float32), to_candidates, allowed).numpy() == [1]


def test_hard_takes_the_nearest_of_another_session() -> None:
    to_candidates = tf.constant([[0.1, 0.9, 1.5, 0.7]])
    assert mine_hard(to_candidates, np.array([[False, True, True, True]])).numpy() == [3]


@pytest.mark.parametrize(
    ("mining", "expected"), [("random", {2, 3}), ("semi_hard", {2}), ("hard", {2}), ("all", {2, 3})]
)
def test_opposites_are_allowed_candidates_and_rows_may_have_none(
    mining: str, expected: set[int]
) -> None:
    to_candidates = tf.constant([[0.1, 0.9, 1.5, 0.7], [0.2, 0.3, 0.4, 0.5]])
    allowed = tf.constant([[False] * 4, [False, False, True, True]])
    opposite = mine(mining, tf.constant([0.2, 0.2]), to_candidates, allowed, SEED).numpy()
    assert opposite.shape == (2, 4)
    assert not opposite[0].any()
    assert set(opposite[1].nonzero()[0]) <= expected
    assert opposite[1].sum() == (2 if mining == "all" else 1)
