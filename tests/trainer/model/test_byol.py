"""BYOL's loss against loops, and in cases that can be computed by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.trainer import loss_loops
from trainer.config import TrainConfig
from trainer.model.byol import build_predictor, byol
from trainer.model.losses import Parts, build_loss

ALL = slice(None)
SIZE = 3


def values_of(parts: Parts) -> dict[str, float]:
    return {name: float(part.over(part.count)) for name, part in parts.items()}


def in_double_precision(model: keras.Model) -> keras.Model:
    def copy(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config(layer.get_config() | {"dtype": "float64"})

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights([2 * weights + 0.1 for weights in model.get_weights()])
    return copied


def in_numpy(predictor: keras.Model, rows: np.ndarray) -> np.ndarray:
    """Dense layer, batch norm with the statistics of the rows, ReLU, dense layer."""
    kernel, bias, gamma, beta, _, _, last_kernel, last_bias = predictor.get_weights()
    hidden = rows @ kernel + bias
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-3) * gamma + beta
    return np.maximum(hidden, 0) @ last_kernel + last_bias


def test_loss_and_gradient_equal_loops() -> None:
    keras.utils.set_random_seed(0)
    predictor = in_double_precision(build_predictor(SIZE))
    tiles = np.random.default_rng(0).normal(size=(2 * 6, 2 * SIZE))

    def by_loops(tiles: np.ndarray) -> tuple[float, float]:
        return loss_loops.byol(*np.split(tiles, 2), lambda rows: in_numpy(predictor, rows))

    values = tf.constant(tiles)
    with tf.GradientTape() as tape:
        tape.watch(values)
        parts = byol(*tf.split(values, 2), ALL, predictor)
        loss = parts["loss"].over(parts["loss"].count)
    np.testing.assert_allclose([*values_of(parts).values()], by_loops(tiles), rtol=1e-6)
    expected = loss_loops.slopes(lambda rows: by_loops(rows)[0], tiles)
    np.testing.assert_allclose(tape.gradient(loss, values), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("anchor", "neighbour", "loss", "similarity"),
    [
        ([2, 0, 1, 0], [3, 0, 5, 0], 0, 1),  # each predicts the other's target
        ([1, 0, 0, 1], [1, 0, 0, 1], 4, 1),  # right angles, 2 in both directions
        ([1, 0, -1, 0], [1, 0, -2, 0], 8, 1),  # opposite directions
        ([1, 0, 0, 1], [0, 1, 1, 0], 0, 0),
        ([1, 0, 1, 0], [0, 1, 1, 0], 2, 0),  # only the anchor predicts the other's
    ],
)
def test_loss_of_simple_pairs(
    anchor: list[float], neighbour: list[float], loss: float, similarity: float
) -> None:
    """Projections and targets of two numbers each; the prediction is the projection."""
    pairs = (tf.constant([tile] * 3, tf.float32) for tile in (anchor, neighbour))
    scalars = values_of(byol(*pairs, ALL, lambda projections, training: projections))
    assert scalars == pytest.approx({"loss": loss, "neighbour_similarity": similarity}, abs=1e-6)


def test_the_predictor_is_learned_and_drawn_from_the_seed() -> None:
    losses = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        losses.append(build_loss(TrainConfig(loss="byol"), SIZE))
    kernels = [loss.layers[0].trainable_variables[0].numpy() for loss in losses]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    assert kernels[0].shape == (SIZE, 4 * SIZE)
    assert (losses[0].unit_length, losses[0].uses_target) == (False, True)
