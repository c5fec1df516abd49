"""The moving average of a network: where it begins, how it follows, and what a checkpoint keeps."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from trainer.config import Architecture, ResolvedConfig
from trainer.model.encoders import build_encoder, build_projector
from trainer.model.learner import Learner, build_learner
from trainer.model.target import Target, target_momentum
from trainer.train.checkpoints import Checkpoints

SHAPE = (32, 32)
TILES = np.random.default_rng(0).normal(-4, 2, (5, *SHAPE)).astype(np.float32)


def build(**settings) -> Learner:
    config = ResolvedConfig(
        encoder="dense", encoder_width=1 / 64, embedding_size=6, projection_size=4, **settings
    )
    return build_learner(config, SHAPE, Moments.of(TILES))


def online_variables(learner: Learner) -> list[keras.Variable]:
    return [*learner.encoder.variables, *learner.projector.variables]


def numbers(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [variable.numpy() for variable in variables]


def test_only_a_loss_that_asks_for_it_has_a_target() -> None:
    for loss in ("triplet", "infonce", "vicreg"):
        learner = build(loss=loss)
        assert learner.target is None
        assert not any(name.startswith("target/") for name in learner.state)


def test_it_begins_as_a_copy_that_the_optimizer_does_not_change() -> None:
    learner = build(loss="byol")
    online, target = numbers(online_variables(learner)), numbers(learner.target.variables)
    for one, other in zip(online, target, strict=True):
        np.testing.assert_array_equal(one, other)
    own = {id(variable) for variable in learner.target.variables}
    assert own.isdisjoint(map(id, online_variables(learner)))
    assert own.isdisjoint(map(id, learner.trainable_variables))


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("conv2d", centring=True),
        Architecture("conv_gru"),
        pytest.param(Architecture("mobilenet_v3_small"), marks=pytest.mark.slow),
    ],
    ids=lambda architecture: architecture.name,
)
def test_the_copy_of_an_encoder_computes_the_same(architecture: Architecture) -> None:
    """Also of one with operations beside its layers, and one that keras.applications builds."""
    encoder = build_encoder(architecture, SHAPE, 8, Moments.of(TILES), 1)
    projector = build_projector(8, 4, unit_length=False)
    target = Target(encoder, projector, lambda _: 0.5)
    expected, found = (
        model.projector(model.encoder(TILES, training=False), training=False)
        for model in (Learner(encoder, projector, None, None), target)
    )
    np.testing.assert_array_equal(found, expected)
    shapes = [[v.shape for v in model.trainable_variables] for model in (encoder, target.encoder)]
    assert shapes[0] == shapes[1]


def test_after_a_step_it_is_nearer_by_the_share_that_is_not_kept() -> None:
    """Trained variables only: the statistics of batch norm are its own."""
    learner = build(loss="byol", target_momentum=0.9, epochs=1, steps_per_epoch=4)
    before = numbers(learner.target.variables)
    for variable in online_variables(learner):
        variable.assign(variable.numpy() + 1)
    strategy = tf.distribute.OneDeviceStrategy("CPU:0")
    learner.after_step(strategy, tf.constant(2, tf.int64))
    change = 0.1 * 0.5  # of step 2 of 4, where the cosine is 0
    models = (learner.target.encoder, learner.target.projector)
    trained = {id(variable) for model in models for variable in model.trainable_variables}
    assert 0 < len(trained) < len(before)
    for variable, old in zip(learner.target.variables, before, strict=True):
        moved = change if id(variable) in trained else 0
        np.testing.assert_allclose(variable.numpy(), old + moved, atol=1e-6)


def test_the_momentum_rises_along_half_a_cosine_to_one() -> None:
    config = ResolvedConfig(target_momentum=0.96, epochs=3, steps_per_epoch=4)
    momentum = target_momentum(config)
    for step in range(13):
        expected = 1 - 0.04 * (np.cos(np.pi * step / 12) + 1) / 2
        assert float(momentum(tf.constant(step, tf.int64))) == pytest.approx(expected, abs=1e-6)


def test_what_starts_from_another_encoder_has_it_as_its_target() -> None:
    learner, other = build(loss="byol"), build(loss="infonce", seed=5)
    learner.start_from(other.encoder)
    for model in (learner.encoder, learner.target.encoder):
        for one, same in zip(model.get_weights(), other.encoder.get_weights(), strict=True):
            np.testing.assert_array_equal(one, same)


def test_a_checkpoint_keeps_it(tmp_path: Path) -> None:
    learner, other = (build(loss="byol", seed=seed) for seed in (0, 1))
    for variable in learner.target.variables:
        variable.assign(variable.numpy() + 1)
    saved, restored = (
        Checkpoints(one.state, str(tmp_path), is_chief=True, every_s=600.0)
        for one in (learner, other)
    )
    with saved:
        saved.save()
    assert restored.restore_newest()
    pairs = zip(learner.target.variables, other.target.variables, strict=True)
    for one, same in pairs:
        np.testing.assert_array_equal(one.numpy(), same.numpy())


def test_it_is_looked_at_for_nan() -> None:
    learner = build(loss="byol")
    variable = learner.target.variables[-1]
    variable.assign(np.full(variable.shape, np.nan))
    assert learner.variables_not_finite() == [variable.path]
