import numpy as np
import pytest
import tensorflow as tf

from trainer.losses import mine_random, mine_semi_hard, squared_distances, triplet_loss

SEED = tf.constant([1, 2], tf.int64)


def unit_rows(rng: np.random.Generator, n: int, size: int = 3) -> np.ndarray:
    rows = rng.normal(size=(n, size))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.sum((left.astype(np.float64) - right) ** 2))


def semi_hard_by_loops(
    anchors: np.ndarray, neighbours: np.ndarray, sessions: np.ndarray, margin: float
) -> tuple[float, float]:
    """FaceNet's rule, one anchor and one candidate at a time; loss and share of active triplets."""
    candidates = [*zip(anchors, sessions, strict=True), *zip(neighbours, sessions, strict=True)]
    losses, triplets = [], 0
    for anchor, neighbour, session in zip(anchors, neighbours, sessions, strict=True):
        to_neighbour = distance(anchor, neighbour)
        opposites = [distance(anchor, tile) for tile, other in candidates if other != session]
        if not opposites:
            continue
        triplets += 1
        beyond = [d for d in opposites if d > to_neighbour]
        losses.append(to_neighbour - (min(beyond) if beyond else max(opposites)) + margin)
    active = [loss for loss in losses if loss > 0]
    return sum(active) / max(len(active), 1), len(active) / triplets


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("margin", [0.1, 0.5, 2.0])
def test_semi_hard_loss_equals_a_loop_over_all_candidates(seed: int, margin: float) -> None:
    rng = np.random.default_rng(seed)
    anchors, sessions = unit_rows(rng, 12), rng.integers(0, 5, 12)
    neighbours = unit_rows(rng, 12)
    result = triplet_loss(
        anchors, neighbours, sessions, margin=margin, mining="semi_hard", seed=SEED
    )
    loss, active_share = semi_hard_by_loops(anchors, neighbours, sessions, margin)
    np.testing.assert_allclose(result["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(result["active_share"], active_share, rtol=1e-6)


def test_loss_is_the_mean_over_active_triplets_only() -> None:
    """Anchors a0 = x, a1 = -x; neighbours n0 = x (d = 0), n1 = y (d = 2), two sessions.

    a0: all opposites are beyond 0, the nearest of -x (d = 4) and y (d = 2) is y: 0 - 2 + 1 < 0.
    a1: of x, x (d = 4, beyond 2): 2 - 4 + 1 < 0. With margin 3: a0 gives 1, a1 gives 1.
    With margin 2.5: both give 0.5. With margin 1 nothing is active: 0, not NaN.
    """
    anchors = np.array([[1, 0], [-1, 0]], np.float32)
    neighbours = np.array([[1, 0], [0, 1]], np.float32)
    sessions = np.array([0, 1])
    losses = {}
    for margin in (1.0, 2.5, 3.0):
        result = triplet_loss(
            anchors, neighbours, sessions, margin=margin, mining="semi_hard", seed=SEED
        )
        losses[margin] = float(result["loss"]), float(result["active_share"])
    assert losses == {1.0: (0.0, 0.0), 2.5: (0.5, 1.0), 3.0: (1.0, 1.0)}


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
    to_candidates = np.array([[0.5, 0.9, 1.5, 0.7]], np.float32)
    allowed = np.array([[True, True, False, True]])
    assert mine_semi_hard(np.array([0.6], np.float32), to_candidates, allowed).numpy() == [3]
    assert mine_semi_hard(np.array([1.0], np.float32), to_candidates, allowed).numpy() == [1]


@pytest.mark.parametrize("mining", ["random", "semi_hard"])
def test_tiles_of_one_session_are_never_opposites(mining: str) -> None:
    rng = np.random.default_rng(0)
    result = triplet_loss(
        unit_rows(rng, 8), unit_rows(rng, 8), np.zeros(8), margin=1.0, mining=mining, seed=SEED
    )
    assert float(result["loss"]) == 0
    assert float(result["active_share"]) == 0


def test_squared_distances_equal_loops() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(4, 7)), rng.normal(size=(5, 7))
    expected = [[distance(a, b) for b in right] for a in left]
    np.testing.assert_allclose(squared_distances(left, right), expected, rtol=1e-12)


@pytest.mark.parametrize("mining", ["random", "semi_hard"])
def test_gradient_equals_finite_differences(mining: str) -> None:
    rng = np.random.default_rng(3)
    anchors, neighbours = unit_rows(rng, 6), unit_rows(rng, 6)
    sessions = np.array([0, 0, 1, 1, 2, 2])

    def loss(values: tf.Tensor) -> tf.Tensor:
        return triplet_loss(values, neighbours, sessions, margin=0.8, mining=mining, seed=SEED)[
            "loss"
        ]

    values = tf.constant(anchors)
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = loss(values)
    gradient = tape.gradient(result, values).numpy()
    for row, column in [(0, 0), (2, 1), (5, 2)]:
        step = np.zeros_like(anchors)
        step[row, column] = 1e-3
        slope = (float(loss(values + step)) - float(loss(values - step))) / 2e-3
        assert gradient[row, column] == pytest.approx(slope, abs=2e-3)


def test_gradient_is_finite_where_all_embeddings_are_alike() -> None:
    values = tf.ones([4, 3]) / np.sqrt(3)
    with tf.GradientTape() as tape:
        tape.watch(values)
        result = triplet_loss(
            values, values, np.arange(4), margin=0.5, mining="semi_hard", seed=SEED
        )
    assert float(result["loss"]) == pytest.approx(0.5, abs=1e-6)
    assert np.isfinite(tape.gradient(result["loss"], values)).all()
