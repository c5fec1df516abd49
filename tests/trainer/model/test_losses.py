"""Losses and their gradients against loops over single tiles, and where no gradient may be NaN."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import loss_loops
from trainer.config import TrainConfig
from trainer.model.losses import (
    OPPOSITE_COUNTS,
    Loss,
    Part,
    Parts,
    build_loss,
    count_false_opposites,
    info_nce,
    part_of,
    triplet_loss,
)
from trainer.model.mining import mine_random
from trainer.model.similarity import BilinearSimilarity, cosine_similarity

SEED = tf.constant([1, 2], tf.int64)
ALL = slice(None)
MININGS = ["random", "all", "semi_hard", "hard"]
REDUCERS = ["mean", "active_mean"]
SESSIONS = {
    "sessions that return": [0, 1, 2, 0, 1, 0, 3, 2],
    "one pair per session": [4, 0, 3, 1, 2, 7, 6, 5],
    "one pair apart from all others": [0, 0, 0, 5, 0, 0, 0, 0],
    "one session": [3, 3, 3, 3, 3, 3, 3, 3],
}
LossOfPairs = Callable[[tf.Tensor, tf.Tensor], tuple[Parts, tf.Tensor]]


def unit_rows(seed: int, n: int = 8, size: int = 4) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, size))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def values_of(parts: Parts) -> dict[str, float]:
    return {name: float(part.over(part.count)) for name, part in parts.items()}


def value_and_gradient(
    loss: LossOfPairs, anchors: np.ndarray, neighbours: np.ndarray
) -> tuple[dict[str, float], np.ndarray]:
    """Scalars, and the gradient by anchors and neighbours, one above the other."""
    tiles = tf.constant(np.concatenate([anchors, neighbours]))
    with tf.GradientTape() as tape:
        tape.watch(tiles)
        parts, _ = loss(*tf.split(tiles, 2))
        loss_of_batch = parts["loss"].over(parts["loss"].count)
    return values_of(parts), tape.gradient(loss_of_batch, tiles).numpy()


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
    draws = tf.random.stateless_uniform([8], SEED)
    drawn = mine_random(None, None, allowed, draws).numpy().argmax(axis=1)

    def by_loops(tiles: np.ndarray) -> tuple[float, float]:
        return loss_loops.triplet(*np.split(tiles, 2), sessions, drawn=drawn, **settings)

    scalars, gradient = value_and_gradient(
        lambda a, n: triplet_loss(a, n, tf.constant(sessions), SEED, ALL, **settings),
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
            ALL,
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
            lambda a, n: info_nce(a, n, tf.constant(sessions), ALL, similarity), anchors, neighbours
        )
        part = info_nce(anchors, neighbours, tf.constant(sessions), ALL, similarity)[0]["loss"]
        loss = part.over(part.count)
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
            ALL,
            margin=margin,
            mining="semi_hard",
            reducer="active_mean",
        )
        values = values_of(result)
        losses[margin] = values["loss"], values["active_share"]
    assert losses == {1.0: (0.0, 0.0), 2.5: (0.5, 1.0), 3.0: (1.0, 1.0)}


def test_info_nce_of_equal_tiles_is_the_log_of_the_number_of_candidates() -> None:
    """Four sessions of one pair: a partner and six tiles of others, log 7."""
    tiles = np.ones((4, 3), np.float32) / np.sqrt(3, dtype=np.float32)
    loss = build_loss(TrainConfig(loss="infonce"), 4)
    parts, _ = loss.function(tiles, tiles, tf.range(4), SEED, ALL)
    assert values_of(parts)["loss"] == pytest.approx(np.log(7), abs=1e-5)


def every_loss() -> list[TrainConfig]:
    triplets = [TrainConfig(mining=m, reducer=r, margin=0.5) for m in MININGS for r in REDUCERS]
    return [
        *triplets,
        TrainConfig(loss="infonce"),
        TrainConfig(loss="infonce", temperature=1e-4),
        TrainConfig(loss="infonce", similarity="bilinear"),
    ]


WITHOUT_OPPOSITES = [TrainConfig(loss="vicreg"), TrainConfig(loss="byol")]


def loss_of_four(config: TrainConfig) -> Loss:
    """A loss of vectors of 4 numbers, which may be two projections of 2."""
    keras.utils.set_random_seed(0)  # of byol's predictor: an unlucky one amplifies rounding
    return build_loss(config, 2 if config.loss == "byol" else 4)


@pytest.mark.parametrize("sessions", SESSIONS.values(), ids=SESSIONS.keys())
@pytest.mark.parametrize("kind", ["alike", "zero", "large", "pairs alike", "opposed"])
@pytest.mark.parametrize(
    "config", every_loss() + WITHOUT_OPPOSITES, ids=lambda config: f"{config.loss}"
)
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
    loss = loss_of_four(config)
    scalars, gradient = value_and_gradient(
        lambda a, n: loss.function(a, n, tf.constant(sessions), SEED, ALL),
        anchors.astype(np.float32),
        neighbours.astype(np.float32),
    )
    assert tuple(scalars) == loss.scalars
    assert np.isfinite(list(scalars.values())).all()
    assert np.isfinite(gradient).all()
    if len(set(sessions)) == 1 and config not in WITHOUT_OPPOSITES:
        assert scalars["loss"] == 0
        assert (gradient == 0).all()


def test_a_scalar_is_the_sum_over_the_count_and_without_a_count_the_sum() -> None:
    values = tf.constant([[1.0, 2.0], [4.0, 8.0]])
    mask = tf.constant([[True, False], [True, True]])
    for part, expected in ((part_of(values), (15, 4)), (part_of(values, mask), (13, 3))):
        assert (float(part.total), float(part.count)) == expected
    for total, count, value in ((6.0, 4.0, 1.5), (0.2, 0.5, 0.4), (6.0, 0.0, 6.0)):
        part = Part(tf.constant(total), tf.constant(count))
        assert float(part.over(part.count)) == pytest.approx(value)


@pytest.mark.parametrize("sessions", SESSIONS.values(), ids=SESSIONS.keys())
@pytest.mark.parametrize(
    "config", every_loss() + WITHOUT_OPPOSITES, ids=lambda config: f"{config.loss}"
)
def test_the_parts_of_some_rows_and_of_the_others_make_the_whole(
    config: TrainConfig, sessions: list[int]
) -> None:
    """Rows 0 to 2 and 3 to 7: sums, counts, gradients and false opposites add up; the loss of each
    is taken over the count of both, as by two replicas."""
    function = loss_of_four(config).function
    tiles = tf.constant(np.concatenate([unit_rows(0), unit_rows(1)]), tf.float32)
    labels = tf.constant(np.random.default_rng(2).integers(-1, 2, (8, 2)))

    def parts_and_gradient(rows: slice, count: float | None) -> tuple[np.ndarray, np.ndarray]:
        with tf.GradientTape() as tape:
            tape.watch(tiles)
            parts, opposite = function(*tf.split(tiles, 2), tf.constant(sessions), SEED, rows)
            loss = parts["loss"].over(parts["loss"].count if count is None else count)
        parts = parts | count_false_opposites(opposite, labels, rows)
        return np.array(list(parts.values())), tape.gradient(loss, tiles).numpy()

    whole, whole_gradient = parts_and_gradient(ALL, None)
    first, others = (
        parts_and_gradient(rows, tf.constant(whole[0, 1]))
        for rows in (slice(0, 3), slice(tf.constant(3), tf.constant(8)))
    )
    np.testing.assert_allclose(first[0] + others[0], whole, rtol=1e-5, atol=1e-5)
    scale = max(1.0, np.abs(whole_gradient).max())
    np.testing.assert_allclose(first[1] + others[1], whole_gradient, atol=1e-6 * scale)


@pytest.mark.parametrize("config", every_loss(), ids=lambda config: f"{config.loss}")
def test_some_rows_cost_their_share_of_the_comparisons(config: TrainConfig) -> None:
    """Of 64 pairs 4 are computed. No tensor, forward or backward, is larger than their rows by the
    128 tiles and the partner; the loss of all would have 64 rows, of InfoNCE 128."""
    function = build_loss(config, 2).function
    queries = 8 if config.loss == "infonce" else 4

    @tf.function
    def gradient(tiles: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(tiles)
            parts, opposite = function(*tf.split(tiles, 2), tf.range(64), SEED, slice(8, 12))
            labels = tf.zeros([64, 2], tf.int64)
            false = count_false_opposites(opposite, labels, slice(8, 12))[OPPOSITE_COUNTS[0]]
        return tape.gradient(parts["loss"].total, tiles) + false.total

    graph = gradient.get_concrete_function(tf.TensorSpec([128, 2])).graph
    shapes = [tensor.shape for op in graph.get_operations() for tensor in op.outputs]
    assert max(shape.num_elements() or 0 for shape in shapes) <= queries * (128 + 1)
    assert [queries, 128] in [shape.as_list() for shape in shapes]


def test_false_opposites_are_counted_among_those_with_labels() -> None:
    """Tiles a0 a1 n0 n1 have the labels 5, 6, 5, none. Of the anchors' opposites (a0: a1, n0 and
    n1; a1: a0 and n0) four have labels, and a0 and n0 share theirs."""
    labels = tf.constant([[5, 5], [6, -1]], tf.int64)
    opposite = tf.constant([[False, True, True, True], [True, False, True, False]])
    counts = values_of(count_false_opposites(opposite, labels, ALL))
    assert counts == {"false_opposites": 1, "labelled_opposites": 4}
    everything = ~tf.eye(4, dtype=tf.bool)  # of InfoNCE: rows are anchors and neighbours
    counts = values_of(count_false_opposites(everything, labels, ALL))
    assert counts == {"false_opposites": 2, "labelled_opposites": 6}


@pytest.mark.parametrize("config", WITHOUT_OPPOSITES, ids=lambda config: f"{config.loss}")
def test_a_loss_without_opposites_counts_none(config: TrainConfig) -> None:
    rows = (tf.constant(unit_rows(seed), tf.float32) for seed in (0, 1))
    _, opposite = loss_of_four(config).function(*rows, tf.range(8), SEED, slice(2, 6))
    counts = count_false_opposites(opposite, tf.ones([8, 2], tf.int64), slice(2, 6))
    assert values_of(counts) == {"false_opposites": 0, "labelled_opposites": 0}


@pytest.mark.parametrize("loss", [{"mining": m} for m in MININGS] + [{"loss": "infonce"}], ids=str)
def test_opposites_that_a_loss_names_are_of_other_sessions(loss: dict[str, str]) -> None:
    sessions = SESSIONS["sessions that return"]
    function = build_loss(TrainConfig(**loss), 4).function
    rows = (tf.constant(unit_rows(seed), tf.float32) for seed in (0, 1))
    _, opposite = function(*rows, tf.constant(sessions), SEED, ALL)
    both = np.array([*sessions, *sessions])
    allowed = both[: len(opposite), None] != both[None, :]
    assert not (opposite.numpy() & ~allowed).any()
    per_row = opposite.numpy().sum(axis=1)
    one = loss.get("mining", "all") != "all"
    np.testing.assert_array_equal(per_row, 1 if one else allowed.sum(axis=1))
