from pathlib import Path

import keras
import numpy as np
import pytest

from beam_features.schema.dataset_info import Moments
from beam_features.schema.errors import InputError
from trainer import storage
from trainer.encoders import ENCODERS, build_encoder, build_projector

TILE_SHAPE = (100, 64)


def tiles(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(-6, 2, (n, *TILE_SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def moments() -> Moments:
    return Moments.of(tiles(20))


def normalised(values: np.ndarray, moments: Moments) -> np.ndarray:
    encoder = build_encoder("conv2d", TILE_SHAPE, 8, moments, seed=0)
    layer = encoder.get_layer("normalise")
    return np.asarray(keras.Model(encoder.input, layer.output)(values))


def test_every_mel_bin_is_normalised_with_the_moments(moments: Moments) -> None:
    values = normalised(tiles(20).astype(np.float16).astype(np.float32), moments)
    np.testing.assert_allclose(values.mean(axis=(0, 1)), 0, atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 1)), 1, atol=1e-4)


def test_a_bin_that_never_changes_does_not_explode() -> None:
    constant = np.full((4, *TILE_SHAPE), -13.8, np.float16)
    assert np.abs(normalised(constant.astype(np.float32), Moments.of(constant))).max() < 10


@pytest.mark.parametrize(("name", "parameters"), [("conv2d", 388_320), ("resnet18", 11_170_240)])
def test_parameters_outside_the_embedding(name: str, parameters: int, moments: Moments) -> None:
    """Counted by hand from kernel sizes and channels; batch norm trains two numbers a channel.

    conv2d: 9 * (1 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 2 * (32 + 64 + 128 + 256).
    resnet18: He et al.'s 11 689 512, less 512 * 1000 + 1000 of its classifier and 2 * 49 * 64 of
    its stem, which has one channel here in place of three.
    """
    encoder = build_encoder(name, TILE_SHAPE, 8, moments, seed=0)
    head = encoder.get_layer("embed")
    trained = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
    assert trained - head.count_params() == parameters


@pytest.mark.parametrize("name", ENCODERS)
def test_saved_encoder_loads_in_safe_mode_and_gives_the_same(
    name: str, moments: Moments, tmp_path: Path
) -> None:
    encoder = build_encoder(name, TILE_SHAPE, 16, moments, seed=0)
    uri = str(tmp_path / "export" / "encoder.keras")
    storage.save_keras(encoder, uri)
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["encoder.keras"]
    embeddings = np.asarray(encoder(tiles(3), training=False))
    assert embeddings.shape == (3, 16)
    np.testing.assert_array_equal(storage.load_keras(uri)(tiles(3), training=False), embeddings)


def test_the_seed_decides_the_weights(moments: Moments) -> None:
    first, again, other = (
        np.asarray(build_encoder("conv2d", TILE_SHAPE, 8, moments, seed)(tiles(2)))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("projection_size", [None, 5])
def test_projections_have_length_one(projection_size: int | None) -> None:
    projections = build_projector(16, projection_size)(
        np.random.default_rng(0).normal(size=(9, 16))
    )
    assert projections.shape == (9, projection_size or 16)
    np.testing.assert_allclose(np.linalg.norm(projections, axis=1), 1, rtol=1e-5)


def test_unknown_encoder_is_named(moments: Moments) -> None:
    with pytest.raises(
        InputError, match="unknown encoder 'resnet19'; choose one of: conv2d, resnet18"
    ):
        build_encoder("resnet19", TILE_SHAPE, 8, moments, seed=0)
