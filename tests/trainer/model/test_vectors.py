import numpy as np

from tests.trainer.synthetic import SPEC
from trainer.config import Architecture
from trainer.data.features import Features
from trainer.model.encoders import build_encoder
from trainer.model.vectors import as_representation, log_mel_statistics, represent_all


def test_statistics_are_mean_and_deviation_over_time() -> None:
    tiles = np.random.default_rng(0).normal(-5, 3, (4, 100, 8)).astype(np.float16)
    vectors = as_representation(log_mel_statistics((100, 8)))(tiles)
    values = tiles.astype(np.float64)
    np.testing.assert_allclose(vectors[:, :8], values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(vectors[:, 8:], values.std(axis=1), rtol=1e-5)


def test_blocks_do_not_change_the_vectors() -> None:
    tiles = np.random.default_rng(0).normal(size=(600, 10, 4)).astype(np.float32)
    represent = as_representation(log_mel_statistics((10, 4)))
    np.testing.assert_array_equal(represent_all(represent, tiles), represent(tiles))


def test_inference_does_not_depend_on_the_rest_of_the_batch(features: Features) -> None:
    """It would if batch norm used the statistics of the batch."""
    encoder = build_encoder(
        Architecture("conv2d"), SPEC.tile_shape, 8, features.info.moments(["train"]), seed=0
    )
    represent = as_representation(encoder)
    tiles = np.random.default_rng(0).normal(-5, 3, (5, *SPEC.tile_shape)).astype(np.float16)
    np.testing.assert_allclose(represent(tiles)[:1], represent(tiles[:1]), atol=1e-5)
