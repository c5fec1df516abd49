"""Losses and their gradients against loops over single tiles, and where no gradient may be NaN."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import loss_loops
from trainer.config import TrainConfig
from trainer.model.losses import build_loss, count_false_opposites, info_nce, triplet_loss
from trainer.model.mining import mine_random
from trainer.model.similarity import BilinearSimilarity, cosine_similarity

SEED = tf.constant([1, 2], tf.int64)
MININGS = ["random", "all", "semi_hard", "hard"]
REDUCERS = ["mean", "active_mean"]
SESSIONS = {
    "sessions that return": [0, 1, 2, 0, 1, 0, 3, 2],
    "one pair per session": [4, 0, 3, 1, 2, 7, 6, 5],
    "one pair apart from all others": [0, 0, 0, 5, 0, 0, 0, 0],
    "one session": [3, 3, 3, 3, 3, 3, 3, 3],
}
LossOfPairs = Callable[[tf.Tensor, tf.Tensor], tuple[Mapping[str, tf.Tensor], tf.Tensor]]


def unit_rows(seed: int, n: int = 8, size: int = 4) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def value_and_gradient(
    loss: LossOfPairs, anchors: np.ndarray, neighbours: np.ndarray
) -> tuple[dict[str, float], np.ndarray]:
    """Scalars, and the gradient by anchors and neighbours, one above the other."""
    tiles = tf.constant(np.concatenate([anchors, neighbours]))
    with tf.GradientTape() as tape:
        tape.watch(tiles)
        scalars, _ = loss(*tf.split(tiles, 2))
    gradient = tape.gradient(scalars["loss"], tiles)
    return {name: float(value) for name, value in scalars.items()}, gradient.numpy()


@pytest.mark.parametrize("sessions", SESSIONS.values(), ids=SESSIONS.keys())
@pytest.mark.parametrize("margin", [0.5, 2.0])
@pytest.mark.parametrize("reducer", REDUCERS)
@pytest.mark.parametrize("mining", MININGS)
def test_triplet_loss_and_gradient_equal_loops(
    mining: str, reducer: str, margin: float, sessions: list[int]
) -> None:
    anchors, neighbours = unit_rows(0), unit_rows(1)
    settings = {"margin": margin, "mining": mining, "reducer": reducer}
    both = np.array([*sessions, *sessions])
    allowed = np.array(sessions)[:, None] != both[None, :]
    drawn = mine_random(None, None, allowed, SEED).numpy().argmax(axis=1)

    def by_loops(tiles: np.ndarray) -> tuple[float, float]:
        return loss_loops.triplet(*np.split(tiles, 2), sessions, drawn=drawn, **settings)

    scalars, gradient = value_and_gradient(
        lambda a, n: triplet_loss(a, n, tf.constant(sessions), SEED, **settings),
        anchors,
        neighbours,
    )
    tiles = np.concatenate([anchors, neighbours])
    np.testing.assert_allclose([scalars["loss"], scalars["active_share"]], by_loops(tiles))
    expected = loss_loops.slopes(lambda values: by_loops(values)[0], tiles)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


@pytest.mark.parametrize("sessions", SESSIONS.values(), ids=SESSIONS.keys())
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_cosine_info_nce_and_gradient_equal_loops(temperature: float, sessions: list[int]) -> None:
    anchors, neighbours = unit_rows(0), unit_rows(1)

    def by_loops(tiles: np.ndarray) -> tuple[float, float]:
        return loss_loops.info_nce(
            *np.split(tiles, 2), sessions, lambda a, b: float(a @ b) / temperature
        )

    scalars, gradient = value_and_gradient(
        lambda a, n: info_nce(
            a,
            n,
            tf.constant(sessions),
            lambda left, right: cosine_similarity(left, right, temperature=temperature),
        ),
        anchors,
        neighbours,
    )
    tiles = np.concatenate([anchors, neighbours])
    values = scalars["loss"], scalars["contrastive_accuracy"]
    np.testing.assert_allclose(values, by_loops(tiles), atol=1e-12)
    expected = loss_loops.slopes(lambda values: by_loops(values)[0], tiles)
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def normalised_tanh(row: np.ndarray) -> np.ndarray:
    return np.tanh((row - row.mean()) / np.sqrt(row.var() + 1e-6))


@pytest.mark.parametrize("sessions", SESSIONS.values(), ids=SESSIONS.keys())
def test_bilinear_info_nce_and_gradients_equal_loops(sessions: list[int]) -> None:
    """The gradient by the learned matrix is compared too; ten times its initial values."""
    anchors, neighbours = unit_rows(0), unit_rows(1)
    tiles = np.concatenate([anchors, neighbours])
    similarity = BilinearSimilarity(4, seed=0, dtype="float64")
    weight = similarity.weight
    weight.assign(10 * weight.numpy())

    def by_loops(tiles: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
        return loss_loops.info_nce(
            *np.split(tiles, 2),
            sessions,
            lambda a, b: float(normalised_tanh(a) @ matrix @ normalised_tanh(b)),
        )

    with tf.GradientTape() as tape:
        scalars, gradient = value_and_gradient(
            lambda a, n: info_nce(a, n, tf.constant(sessions), similarity), anchors, neighbours
        )
        loss = info_nce(anchors, neighbours, tf.constant(sessions), similarity)[0]["loss"]
    matrix = weight.numpy()
    values = scalars["loss"], scalars["contrastive_accuracy"]
    np.testing.assert_allclose(values, by_loops(tiles, matrix), atol=1e-12)
    by_tiles = loss_loops.slopes(lambda values: by_loops(values, matrix)[0], tiles)
    np.testing.assert_allclose(gradient, by_tiles, atol=1e-7)
    by_matrix = loss_loops.slopes(lambda values: by_loops(tiles, values)[0], matrix)
    np.testing.assert_allclose(tape.gradient(loss, weight.value), by_matrix, atol=1e-7)


def test_loss_is_the_mean_over_active_triplets_only() -> None:
    """Anchors a0 = x, a1 = -x; neighbours n0 = x (d = 0), n1 = y (d = 2), two sessions.

    a0: all opposites are beyond 0, the nearest of -x (d = 4) and y (d = 2) is y: 0 - 2 + 1 < 0.
    a1: of x, x (d = 4, beyond 2): 2 - 4 + 1 < 0. With margin 3: a0 gives 1, a1 gives 1.
    With margin 2.5: both give 0.5. With margin 1 nothing is active: 0, not NaN.
    """
    anchors = np.array([[1, 0], [-1, 0]], np.float32)
    neighbours = np.array([[1, 0], [0, 1]], np.float32)
    losses = {}
    for margin in (1.0, 2.5, 3.0):
        result, _ = triplet_loss(
            anchors,
            neighbours,
            np.array([0, 1]),
            SEED,
            margin=margin,
            mining="semi_hard",
            reducer="active_mean",
        )
        losses[margin] = float(result["loss"]), float(result["active_share"])
    assert losses == {1.0: (0.0, 0.0), 2.5: (0.5, 1.0), 3.0: (1.0, 1.0)}


def test_info_nce_of_equal_tiles_is_the_log_of_the_number_of_candidates() -> None:
    """Four sessions of one pair: a partner and six tiles of others, log 7."""
    tiles = np.ones((4, 3), np.float32) / np.sqrt(3, dtype=np.float32)
    loss = build_loss(TrainConfig(loss="infonce"), 4)
    scalars, _ = loss.function(tiles, tiles, tf.range(4), SEED)
    assert float(scalars["loss"]) == pytest.approx(np.log(7), abs=1e-5)


def every_loss() -> list[TrainConfig]:
    triplets = [TrainConfig(mining=m, reducer=r, margin=0.5) for m in MININGS for r in REDUCERS]
    return [
        *triplets,
        TrainConfig(loss="infonce"),
        TrainConfig(loss="infonce", temperature=1e-4),
        TrainConfig(loss="infonce", similarity="bilinear"),
    ]


@pytest.mark.parametrize("sessions", SESSIONS.values(), ids=SESSIONS.keys())
@pytest.mark.parametrize("kind", ["alike", "zero", "large", "pairs alike", "opposed"])
@pytest.mark.parametrize("config", every_loss(), ids=lambda config: f"{config.loss}")
def test_scalars_and_gradients_are_finite(
    config: TrainConfig, kind: str, sessions: list[int]
) -> None:
    """Large: 60 000, near the end of float16's range, though the losses ask for length one."""
    rows = unit_rows(0)
    anchors, neighbours = {
        "alike": (np.full((8, 4), 0.5), np.full((8, 4), 0.5)),
        "zero": (np.zeros((8, 4)), np.zeros((8, 4))),
        "large": (6e4 * rows, 6e4 * unit_rows(1)),
        "pairs alike": (rows, rows),
        "opposed": (rows, -rows),
    }[kind]
    loss = build_loss(config, 4)
    scalars, gradient = value_and_gradient(
        lambda a, n: loss.function(a, n, tf.constant(sessions), SEED),
        anchors.astype(np.float32),
        neighbours.astype(np.float32),
    )
    assert tuple(scalars) == loss.scalars
    assert np.isfinite(list(scalars.values())).all()
    assert np.isfinite(gradient).all()
    if len(set(sessions)) == 1:
        assert scalars["loss"] == 0
        assert (gradient == 0).all()


def test_false_opposites_are_counted_among_those_with_labels() -> None:
    """Tiles a0 a1 n0 n1 have the labels 5, 6, 5, none. Of the anchors' opposites (a0: a1, n0 and
    n1; a1: a0 and n0) four have labels, and a0 and n0 share theirs."""
    labels = tf.constant([[5, 5], [6, -1]], tf.int64)
    opposite = tf.constant([[False, True, True, True], [True, False, True, False]])
    counts = count_false_opposites(opposite, labels)
    assert {name: float(count) for name, count in counts.items()} == {
        "false_opposites": 1,
        "labelled_opposites": 4,
    }
    everything = ~tf.eye(4, dtype=tf.bool)  # of InfoNCE: rows are anchors and neighbours
    counts = count_false_opposites(everything, labels)
    assert float(counts["false_opposites"]) == 2
    assert float(counts["labelled_opposites"]) == 6


@pytest.mark.parametrize("loss", [{"mining": m} for m in MININGS] + [{"loss": "infonce"}], ids=str)
def test_opposites_that_a_loss_names_are_of_other_sessions(loss: dict[str, str]) -> None:
    sessions = SESSIONS["sessions that return"]
    function = build_loss(TrainConfig(**loss), 4).function
    rows = (tf.constant(unit_rows(seed), tf.float32) for seed in (0, 1))
    _, opposite = function(*rows, tf.constant(sessions), SEED)
    both = np.array([*sessions, *sessions])
    allowed = both[: len(opposite), None] != both[None, :]
    assert not (opposite.numpy() & ~allowed).any()
    per_row = opposite.numpy().sum(axis=1)
    one = loss.get("mining", "all") != "all"
    np.testing.assert_array_equal(per_row, 1 if one else allowed.sum(axis=1))
