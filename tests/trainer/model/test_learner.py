from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from trainer.config import ResolvedConfig
from trainer.model.learner import Learner, build_learner
from trainer.train.checkpoints import Checkpoints

TILE_SHAPE = (10, 8)
TILES = np.random.default_rng(0).normal(-4, 2, (5, *TILE_SHAPE))


def build(**settings) -> Learner:
    config = ResolvedConfig(encoder="dense", encoder_width=1 / 64, **settings)
    return build_learner(config, TILE_SHAPE, Moments.of(TILES))


def test_the_optimizer_changes_encoder_projection_and_similarity() -> None:
    learner = build(
        loss="infonce", similarity="bilinear", embedding_size=6, projection_hidden=5,
        projection_size=4, seed=3,
    )  # fmt: skip
    assert learner.encoder.output_shape == (None, 6)
    assert learner.projector.output_shape == (None, 4)
    trained = {variable.path: variable.shape for variable in learner.trainable_variables}
    assert len(trained) == len(learner.trainable_variables)
    encoder = 2 * (1 + 2) + 2  # two layers with batch norm, and the embedding
    similarity = 2 + 1  # its layer norm, and the matrix
    assert len(trained) == encoder + 2 * 2 + similarity
    assert trained["bilinear_similarity/weight"] == (4, 4)


def test_only_the_encoder_computes_in_16_bits() -> None:
    learner = build(precision="mixed_bfloat16")
    assert learner.encoder.get_layer("normalise").compute_dtype == "float32"
    dense = [layer for layer in learner.encoder.layers if isinstance(layer, keras.layers.Dense)]
    assert dense[0].compute_dtype == "bfloat16"
    assert learner.encoder.output.dtype == learner.projector.output.dtype == "float32"


@pytest.mark.parametrize("similarity", ["cosine", "bilinear"])
def test_a_checkpoint_of_its_state_brings_everything_back(tmp_path: Path, similarity: str) -> None:
    learner, other = (build(loss="infonce", similarity=similarity, seed=seed) for seed in (0, 1))
    gradients = [tf.ones_like(variable) for variable in learner.trainable_variables]
    learner.optimizer.apply(gradients, learner.trainable_variables)

    def values(one: Learner) -> list[np.ndarray]:
        parts = (one.encoder, one.projector, *one.objective.layers, one.optimizer)
        return [variable.numpy() for part in parts for variable in part.variables]

    assert not all(
        np.array_equal(a, b) for a, b in zip(values(learner), values(other), strict=True)
    )
    saved, restored = (
        Checkpoints(one.state, str(tmp_path), is_chief=True, every_s=600.0)
        for one in (learner, other)
    )
    with saved:
        saved.save()
    assert restored.restore_newest()
    for a, b in zip(values(learner), values(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_the_state_has_the_same_names_in_every_build(precision: str) -> None:
    """The second model of a process gets other names from Keras."""
    one, other = (build(loss="infonce", similarity="bilinear", precision=precision) for _ in "ab")
    assert [variable.path for variable in one.state.values()] != [
        variable.path for variable in other.state.values()
    ]
    assert {name: (variable.shape, variable.dtype) for name, variable in one.state.items()} == {
        name: (variable.shape, variable.dtype) for name, variable in other.state.items()
    }
    parts = (one.encoder, one.projector, *one.objective.layers, one.optimizer)
    everything = [id(variable) for part in parts for variable in part.variables]
    assert [id(variable) for variable in one.state.values()] == everything
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_every_variable_is_looked_at_for_nan(precision: str, value: float) -> None:
    learner = build(loss="infonce", similarity="bilinear", precision=precision, embedding_size=6)
    assert learner.variables_not_finite() == []
    inner = getattr(learner.optimizer, "inner_optimizer", learner.optimizer)
    statistics = learner.encoder.non_trainable_variables
    chosen = [
        next(variable for variable in statistics if "moving_variance" in variable.path),
        learner.projector.variables[-1],
        learner.objective.layers[0].variables[0],
        next(variable for variable in inner.variables if "velocity" in variable.path),
    ]
    for variable in chosen:
        before = variable.numpy()
        variable.assign(np.full(variable.shape, value))
        assert learner.variables_not_finite() == [variable.path]
        variable.assign(before)
