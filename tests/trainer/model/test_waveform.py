"""Waveforms through the graph, held against the feature job's tiles through the encoder."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.datasets import sample
from beam_features.schema.audio.decode import decode
from beam_features.schema.audio.log_mel import log_mel as job_log_mel
from beam_features.schema.audio.log_mel import tiles_of
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import LOG_MEL_DTYPE
from tests.beam_features.schema.audio.test_log_mel import SPECS, signal
from tests.trainer.models import make_encoder, noise
from trainer.model.front_end import frame_count, log_mel
from trainer.model.waveform import WaveformEncoder

SPEC = FeatureSpec()
REAL_AUDIO = os.environ.get("DEM_REAL_AUDIO")  # a directory of recordings
MOST_REAL_FILES = 20


def as_stored(samples: np.ndarray, spec: FeatureSpec = SPEC) -> np.ndarray:
    """Tiles as the feature job writes them and the trainer reads them."""
    (tiles,) = np.concatenate(list(tiles_of([samples[:, None]], spec)), axis=1)
    return tiles.astype(LOG_MEL_DTYPE).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> keras.Model:
    return make_encoder(SPEC)


@pytest.fixture(scope="module")
def model(encoder: keras.Model) -> WaveformEncoder:
    return WaveformEncoder(encoder, SPEC)


@pytest.mark.parametrize("kind", ["noise", "tone", "chirp", "near-silence", "silence"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_log_mel_is_the_feature_jobs(spec: FeatureSpec, kind: str) -> None:
    """To one step of float16, where a value lies on the border of two."""
    samples = signal(kind, 2 * spec.sample_rate_hz, spec.sample_rate_hz)
    reference = job_log_mel(samples, spec).astype(LOG_MEL_DTYPE).astype(np.float32)
    padded = np.pad(samples, spec.fft_length // 2)
    ours = log_mel(tf.constant(padded), spec).numpy()
    assert ours.shape == reference.shape
    assert int(frame_count(len(samples), spec)) == len(reference)
    assert np.count_nonzero(ours != reference) < 1e-3 * ours.size
    np.testing.assert_allclose(ours, reference, rtol=2**-10, atol=1e-4)


@pytest.mark.parametrize("n_samples", [1, 400, 15_999, 16_000, 31_839, 31_840, 16_000 * 70 + 77])
def test_embeddings_are_those_of_the_feature_jobs_tiles(
    encoder: keras.Model, model: WaveformEncoder, n_samples: int
) -> None:
    """Around one tile, at the sample that completes a second, and over three blocks of tiles."""
    samples = noise(n_samples)
    embedded = model(samples)
    expected = np.asarray(encoder(as_stored(samples), training=False))
    np.testing.assert_allclose(embedded["embeddings"], expected, atol=1e-3)
    np.testing.assert_array_equal(embedded["start_s"], np.arange(len(expected), dtype=np.float32))


def test_another_spec_with_an_odd_fft() -> None:
    spec = FeatureSpec(fft_length=513, n_mels=32, tile_s=0.5, hop_s=0.02)
    encoder = make_encoder(spec)
    embedded = WaveformEncoder(encoder, spec)(noise(40_000))
    expected = np.asarray(encoder(as_stored(noise(40_000), spec), training=False))
    np.testing.assert_allclose(embedded["embeddings"], expected, atol=1e-3)
    np.testing.assert_allclose(embedded["start_s"], 0.5 * np.arange(5))


def test_no_samples_have_no_tiles(model: WaveformEncoder) -> None:
    embedded = model(np.empty(0, np.float32))
    assert embedded["embeddings"].shape == (0, 16)
    assert embedded["start_s"].shape == (0,)


def test_sliding_tiles_are_those_of_the_shifted_waveform(model: WaveformEncoder) -> None:
    """A shift by half a tile: tile 3 of 50 frames' hop is tile 1 of what begins 0.5 s later.

    The first frame sees what was cut off, so only tiles after the first can be equal.
    """
    samples = noise(80_000)
    sliding = model.sliding(samples, 50)
    assert sliding["embeddings"].shape == (9, 16)
    np.testing.assert_allclose(sliding["start_s"], 0.5 * np.arange(9))
    np.testing.assert_allclose(sliding["embeddings"][::2], model(samples)["embeddings"], atol=1e-4)
    shifted = model(samples[8_000:])["embeddings"]
    np.testing.assert_allclose(sliding["embeddings"][3::2], shifted[1:], atol=1e-3)


def test_synthetic_songs_equal_the_feature_job(
    encoder: keras.Model, model: WaveformEncoder
) -> None:
    for recording in sample.list_recordings("sample:0").recordings[::40]:
        samples = sample.synthesise(recording.uri)
        expected = np.asarray(encoder(as_stored(samples), training=False))
        np.testing.assert_allclose(model(samples)["embeddings"], expected, atol=1e-3)


@pytest.mark.skipif(not REAL_AUDIO, reason="DEM_REAL_AUDIO names no directory of recordings")
def test_real_recordings_equal_the_feature_job(
    encoder: keras.Model, model: WaveformEncoder
) -> None:
    paths = [p for p in sorted(Path(str(REAL_AUDIO)).rglob("*")) if p.suffix in (".ogg", ".wav")]
    assert paths
    for path in paths[:: -(-len(paths) // MOST_REAL_FILES)]:
        with path.open("rb") as file:
            samples = decode(file, SPEC)[:, 0]
        expected = np.asarray(encoder(as_stored(samples), training=False))
        np.testing.assert_allclose(
            model(samples)["embeddings"], expected, atol=1e-3, err_msg=path.name
        )
