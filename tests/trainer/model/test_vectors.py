from pathlib import Path

import numpy as np
import pytest

from tests.trainer.synthetic import SPEC, write_features
from trainer.config import Architecture
from trainer.data.features import Features, open_features
from trainer.model.encoders import build_encoder
from trainer.model.vectors import (
    VectorTable,
    as_representation,
    log_mel_statistics,
    recording_table,
    represent_all,
    tile_table,
)


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


def test_a_table_has_a_row_per_tile_in_step_with_its_columns(features: Features) -> None:
    represent = as_representation(log_mel_statistics(SPEC.tile_shape))
    table = tile_table(features, ["test"], represent)
    assert table.vectors.shape == (72, 2 * SPEC.n_mels)
    assert set(table.recording_ids) == {f"test/{i}" for i in range(12)}
    index = np.array([int(name.split("/")[1]) for name in table.recording_ids])
    np.testing.assert_array_equal(table.labels, index % 3)
    one_song = table.select(table.recording_ids == "test/7")
    assert one_song.start_ms.tolist() == [0, 160, 320, 480, 640, 800]
    spread = one_song.vectors[:, : SPEC.n_mels].std(axis=0).mean()
    assert spread == pytest.approx(0.5 / np.sqrt(SPEC.tile_frames), rel=0.3)


def test_a_table_can_be_of_the_first_tiles(tmp_path: Path) -> None:
    """Of 360 tiles, one batch: 43 songs of 6 tiles are the first to make 256."""
    many = open_features(str(write_features(tmp_path / "features", {"train": 60})))
    represent = as_representation(log_mel_statistics(SPEC.tile_shape))
    whole = tile_table(many, ["train"], represent)
    first = tile_table(many, ["train"], represent, most_tiles=200)
    assert first.recording_ids.tolist() == whole.recording_ids[:258].tolist()
    np.testing.assert_array_equal(first.vectors, whole.vectors[:258])


def test_a_recording_has_the_mean_and_the_maximum_of_its_audible_tiles() -> None:
    """b's second tile is silent and does not count; all of c is, so all of it does."""
    recordings = np.array(["b", "a", "b", "c", "b", "c"])
    labels = np.array([1, 0, 1, 2, 1, 2])
    tiles = VectorTable(
        vectors=np.array([[1, 5], [7, 7], [100, 100], [2, 4], [3, 1], [4, 0]], np.float32),
        recording_ids=recordings,
        context_ids=recordings,
        session_ids=recordings,
        start_ms=np.array([0, 0, 1000, 0, 2000, 1000]),
        labels=labels,
        audible=np.array([True, True, False, False, True, False]),
    )
    table = recording_table(tiles)
    assert table.recording_ids.tolist() == ["a", "b", "c"]
    assert table.labels.tolist() == [0, 1, 2]
    assert table.audible.tolist() == [True, True, False]
    np.testing.assert_array_equal(table.vectors, [[7, 7, 7, 7], [2, 3, 3, 5], [3, 2, 4, 4]])
