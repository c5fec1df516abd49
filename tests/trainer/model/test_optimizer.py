import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import ResolvedConfig
from trainer.model.optimizer import (
    build_optimizer,
    clip_global_norm,
    learning_rate,
    prepare_optimizer,
)


def config(peak: float, warmup_steps: int, total_steps: int | None) -> ResolvedConfig:
    """Settings with this learning rate; without `total_steps`, it does not decay."""
    return ResolvedConfig(
        learning_rate=peak,
        warmup_steps=warmup_steps,
        learning_rate_decay="cosine" if total_steps else "none",
        steps_per_epoch=total_steps or 1,
        epochs=1,
    )


def rates(peak: float, warmup_steps: int, total_steps: int | None, n_steps: int) -> list[float]:
    rate = learning_rate(config(peak, warmup_steps, total_steps))
    return [float(rate(tf.constant(step, tf.int64))) for step in range(n_steps)]


def expected_rate(peak: float, warmup_steps: int, total_steps: int | None, step: int) -> float:
    """The formula in double precision."""
    warm = min(1.0, (step + 1) / max(warmup_steps, 1))
    if total_steps is None:
        return peak * warm
    progress = min(max((step - warmup_steps) / (total_steps - warmup_steps), 0), 1)
    return peak * warm * 0.5 * (1 + math.cos(math.pi * progress))


def test_warm_up_is_linear_and_then_constant() -> None:
    assert rates(0.1, 4, None, 7) == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1])


def test_without_warm_up_and_decay_the_rate_is_constant() -> None:
    assert rates(0.1, 0, None, 3) == [np.float32(0.1)] * 3


def test_cosine_goes_from_the_peak_to_zero_after_the_warm_up() -> None:
    """Two steps of warm-up, then half a cosine over the eight that are left; 0 with step 10."""
    cosine = [0.1 * (1 + math.cos(math.pi * step / 8)) / 2 for step in range(9)]
    assert rates(0.1, 2, 10, 11) == pytest.approx([0.05, 0.1, *cosine], abs=1e-8)


@pytest.mark.parametrize("warmup_steps", [0, 1, 2, 5, 99])
@pytest.mark.parametrize("total_steps", [None, 100, 131])
def test_every_step_has_the_rate_of_the_formula(warmup_steps: int, total_steps: int | None) -> None:
    """Up to the rounding of float32; also after the last step."""
    expected = [expected_rate(0.003, warmup_steps, total_steps, step) for step in range(140)]
    rates_of_steps = rates(0.003, warmup_steps, total_steps, 140)
    np.testing.assert_allclose(rates_of_steps, expected, rtol=3e-7, atol=3e-10)


def layers() -> keras.Model:
    tiles = keras.Input((4, 3))
    x = keras.layers.GRU(2)(tiles)
    x = keras.layers.BatchNormalization()(keras.layers.Dense(2)(x))
    return keras.Model(tiles, keras.layers.LayerNormalization()(x))


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    """Without a gradient Adam moves nothing, and decay takes learning rate x weight decay."""
    model = layers()
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    optimizer = build_optimizer(ResolvedConfig(learning_rate=0.1, weight_decay=0.5))
    prepare_optimizer(optimizer, variables)
    optimizer.apply([tf.zeros(variable.shape) for variable in variables], variables)
    decayed = [v.name for v in variables if np.allclose(v.numpy(), 0.95)]
    kept = [v.name for v in variables if (v.numpy() == 1).all()]
    assert sorted(decayed) == ["kernel", "kernel", "recurrent_kernel"]
    assert sorted(kept) == ["beta", "beta", "bias", "bias", "gamma", "gamma"]


def test_the_rate_follows_the_steps_that_were_made() -> None:
    variable = keras.Variable(np.ones(3, np.float32))
    optimizer = build_optimizer(config(0.1, 2, 10))
    prepare_optimizer(optimizer, [variable])
    seen = []
    for _ in range(10):
        seen.append(float(optimizer.learning_rate))
        optimizer.apply([tf.ones(3)], [variable])
    assert seen == pytest.approx(rates(0.1, 2, 10, 10))


def test_an_optimizer_that_would_sum_gradients_in_another_way_is_refused() -> None:
    class Renamed:
        def exclude_from_weight_decay(self, var_list: list) -> None: ...
        def build(self, variables: list) -> None: ...

    with pytest.raises(RuntimeError, match=r"Renamed of Keras .* no method _all_reduce_sum_grad"):
        prepare_optimizer(Renamed(), [])


def test_gradients_are_scaled_to_the_norm_together() -> None:
    """Norm of (3, 0) and (4) is 5."""
    gradients = [tf.constant([3.0, 0.0]), tf.constant([4.0])]
    for clip_norm, factor in ((None, 1), (10.0, 1), (1.0, 0.2)):
        clipped, norm = clip_global_norm(gradients, clip_norm)
        assert float(norm) == 5
        np.testing.assert_allclose(clipped[0], [3 * factor, 0], rtol=1e-6)
        np.testing.assert_allclose(clipped[1], [4 * factor], rtol=1e-6)


def test_a_gradient_of_zero_stays_zero() -> None:
    clipped, norm = clip_global_norm([tf.zeros(3)], 1.0)
    assert float(norm) == 0
    np.testing.assert_array_equal(clipped[0], [0, 0, 0])
