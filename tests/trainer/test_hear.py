"""HEAR's API by shapes, types and timestamps, as its validator asks for them."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.feature_spec import FeatureSpec
from tests.trainer.models import make_encoder
from trainer.hear import HearModel, get_scene_embeddings, get_timestamp_embeddings, load_model
from trainer.model.export import export_encoder


def job_of(spec: FeatureSpec, directory: Path) -> str:
    export_encoder(make_encoder(spec), spec, str(directory))
    return str(directory / "export/saved_model")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> HearModel:
    return load_model(job_of(FeatureSpec(), tmp_path_factory.mktemp("hear")))


def sounds(n_sounds: int, n_samples: int) -> tf.Tensor:
    return tf.random.stateless_uniform((n_sounds, n_samples), [0, 0], -1.0, 1.0)


def test_the_model_has_hears_attributes(model: HearModel) -> None:
    assert isinstance(model, tf.Module)
    assert (model.sample_rate, model.scene_embedding_size) == (16_000, 16)
    assert type(model.timestamp_embedding_size) is int
    assert model.timestamp_embedding_size == 16


def test_a_scene_is_the_mean_of_its_tiles(model: HearModel) -> None:
    audio = sounds(3, 59_840)
    scenes = get_scene_embeddings(audio, model)
    assert scenes.dtype == tf.float32
    assert scenes.shape == (3, 16)
    tiles, _ = model.exported.embed_waveform(audio[1].numpy(), 16_000)
    np.testing.assert_allclose(scenes[1], tiles.mean(axis=0), atol=1e-5)


def test_timestamps_are_every_50_ms_from_0_to_the_end(model: HearModel) -> None:
    embeddings, timestamps = get_timestamp_embeddings(sounds(2, 32_000), model)
    assert embeddings.dtype == timestamps.dtype == tf.float32
    assert embeddings.shape == (2, 41, 16)
    np.testing.assert_array_equal(timestamps, [50.0 * np.arange(41)] * 2)


def test_an_embedding_is_centred_at_its_timestamp(model: HearModel) -> None:
    """Silence but for a click: what changes is the tiles whose centre is within half a tile."""
    silence = np.zeros((1, 64_000), np.float32)
    click = silence.copy()
    click[0, 32_000] = 1.0
    (quiet, timestamps), (loud, _) = (
        get_timestamp_embeddings(tf.constant(audio), model) for audio in (silence, click)
    )
    changed = timestamps[0][np.abs(loud[0] - quiet[0]).max(axis=1) > 1e-3]
    middle = (changed[0] + changed[-1]) / 2
    assert float(middle) == pytest.approx(2000, abs=1e-3)
    assert float(changed[-1] - changed[0]) == pytest.approx(1000, abs=51)


def test_the_hop_is_a_whole_number_of_frames_within_50_ms(tmp_path: Path) -> None:
    spec = FeatureSpec(hop_s=0.016, tile_s=0.48, n_mels=16)
    model = load_model(job_of(spec, tmp_path))
    embeddings, timestamps = get_timestamp_embeddings(sounds(1, 16_000), model)
    assert embeddings.shape == (1, 21, 16)
    np.testing.assert_allclose(np.diff(timestamps), 48.0, atol=1e-3)


@pytest.mark.parametrize("n_samples", [1, 100, 799, 800, 4_000])
def test_sounds_shorter_than_a_tile(model: HearModel, n_samples: int) -> None:
    embeddings, _ = get_timestamp_embeddings(sounds(1, n_samples), model)
    assert embeddings.shape == (1, 1 + n_samples // 800, 16)
    assert get_scene_embeddings(sounds(1, n_samples), model).shape == (1, 16)


def test_one_sound_must_be_a_batch_of_one(model: HearModel) -> None:
    with pytest.raises(ValueError, match=r"audio has shape \(16000,\); HEAR gives"):
        get_scene_embeddings(sounds(1, 16_000)[0], model)


def test_integers_are_scaled_and_nan_is_refused(model: HearModel) -> None:
    audio = np.random.default_rng(0).integers(-(2**15), 2**15, (1, 16_000)).astype(np.int16)
    expected = get_scene_embeddings(tf.constant(audio / np.float32(2**15), tf.float32), model)
    np.testing.assert_allclose(get_scene_embeddings(tf.constant(audio), model), expected, atol=1e-5)
    with pytest.raises(ValueError, match="the waveform holds NaN or infinite samples"):
        get_scene_embeddings(tf.constant([[0.1, np.nan]]), model)
