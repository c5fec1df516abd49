"""The terms of VICReg against loops, in cases that can be computed by hand, and shared out."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import loss_loops
from trainer.config import TrainConfig
from trainer.model.losses import build_loss
from trainer.model.vicreg import vicreg

ALL = slice(None)
WEIGHTS = {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}
SQUARE = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], np.float64)  # variances 4 / 3
LINE = np.array([[1, 1], [1, 1], [-1, -1], [-1, -1]], np.float64)


def terms(anchors: np.ndarray, neighbours: np.ndarray, rows: slice = ALL) -> dict[str, float]:
    parts = vicreg(tf.constant(anchors), tf.constant(neighbours), rows, WEIGHTS)
    return {name: float(part.over(part.count)) for name, part in parts.items()}


@pytest.mark.parametrize(("n", "size"), [(8, 4), (3, 6), (2, 1)])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_terms_and_gradient_equal_loops(n: int, size: int, scale: float) -> None:
    tiles = np.random.default_rng(n).normal(0.5, scale, (2 * n, size))

    def by_loops(tiles: np.ndarray) -> float:
        return float(np.dot(loss_loops.vicreg(*np.split(tiles, 2)), [*WEIGHTS.values()]))

    values = tf.constant(tiles)
    with tf.GradientTape() as tape:
        tape.watch(values)
        parts = vicreg(*tf.split(values, 2), ALL, WEIGHTS)
        loss = parts["loss"].over(parts["loss"].count)
    found = [float(parts[name].total) for name in WEIGHTS]
    np.testing.assert_allclose(found, loss_loops.vicreg(*np.split(tiles, 2)))
    assert float(loss) == pytest.approx(by_loops(tiles))
    expected = loss_loops.slopes(by_loops, tiles)
    np.testing.assert_allclose(tape.gradient(loss, values), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("anchors", "neighbours", "expected"),
    [
        (np.ones((4, 2)), np.ones((4, 2)), (0, 2 * (1 - 0.01), 0)),  # sqrt(0 + 1e-4) is 0.01
        (SQUARE, SQUARE, (0, 0, 0)),
        (SQUARE, -SQUARE, (4, 0, 0)),
        (SQUARE, LINE, (1, 0, (4 / 3) ** 2)),
        (LINE, -LINE, (4, 0, 2 * (4 / 3) ** 2)),
        (0.3 * SQUARE, 0.3 * SQUARE, (0, 2 * (1 - np.sqrt(0.12 + 1e-4)), 0)),
    ],
    ids=["one point", "spread", "opposed", "half of them on a line", "on a line", "too near"],
)
def test_terms_of_simple_shapes(
    anchors: np.ndarray, neighbours: np.ndarray, expected: tuple[float, ...]
) -> None:
    found = terms(anchors, neighbours)
    np.testing.assert_allclose([found[name] for name in WEIGHTS], expected, atol=1e-12)
    assert found["loss"] == pytest.approx(np.dot(expected, [25, 25, 1]))


@pytest.mark.parametrize("size", [1, 3, 4, 9])
@pytest.mark.parametrize("replicas", [1, 2, 4])
def test_the_shares_of_replicas_add_up(size: int, replicas: int) -> None:
    """Also where a replica has no dimension."""
    anchors, neighbours = np.random.default_rng(size).normal(0, 0.5, (2, 8, size))
    bounds = np.linspace(0, 8, replicas + 1).astype(int)
    shares = [terms(anchors, neighbours, slice(*ends)) for ends in pairwise(bounds)]
    for name, value in terms(anchors, neighbours).items():
        assert sum(share[name] for share in shares) == pytest.approx(value), name


def test_the_settings_weigh_the_terms() -> None:
    config = TrainConfig(loss="vicreg", invariance_weight=2, variance_weight=3, covariance_weight=5)
    loss = build_loss(config, 2)
    assert (loss.unit_length, loss.uses_target, loss.layers) == (False, False, ())
    tiles = (tf.constant(0.3 * LINE, tf.float32), tf.constant(-0.3 * LINE, tf.float32))
    parts, _ = loss.function(*tiles, tf.range(4), tf.zeros([2], tf.int64), ALL)
    total = {name: float(part.total) for name, part in parts.items()}
    expected = 2 * total["invariance"] + 3 * total["variance"] + 5 * total["covariance"]
    assert min(total.values()) > 0
    assert total["loss"] == pytest.approx(expected)
