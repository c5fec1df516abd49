"""Log-mel frames compared with librosa on the same samples; cutting them into tiles."""

import librosa
import numpy as np
import pytest
import scipy.signal

from beam_features.schema.audio.log_mel import log_mel, log_mel_blocks
from beam_features.schema.audio.log_mel import tiles_of as tile_blocks_of
from beam_features.schema.feature_spec import FeatureSpec
from benchmarks.reference import librosa_log_mel

SPECS = {
    "defaults": FeatureSpec(),
    "fft is window": FeatureSpec(window_s=0.032, fft_length=512),
    "fft is odd": FeatureSpec(fft_length=513),
    "odd padding of the window": FeatureSpec(window_s=0.0250625, fft_length=512),  # 401 samples
    "32 kHz, 80 mels from 0 Hz": FeatureSpec(
        sample_rate_hz=32_000, window_s=0.02, hop_s=0.0125, fft_length=1024, n_mels=80, fmin_hz=0
    ),
    "narrow": FeatureSpec(n_mels=20, fmin_hz=125, fmax_hz=3800, log_offset=1e-3),
}
BLOCK_FRAMES = 128


def signal(kind: str, n_samples: int, rate_hz: int = 16_000) -> np.ndarray:
    time_s = np.arange(n_samples) / rate_hz
    samples = {
        "noise": lambda: np.random.default_rng(0).normal(0, 0.1, n_samples),
        "near-silence": lambda: np.random.default_rng(0).normal(0, 1e-5, n_samples),
        "tone": lambda: 0.9 * np.sin(2 * np.pi * 1000 * time_s),
        "chirp": lambda: scipy.signal.chirp(time_s, 20, max(time_s[-1], 1e-3), 7900),
        "silence": lambda: np.zeros(n_samples),
    }[kind]()
    return samples.astype(np.float32)


@pytest.mark.parametrize("kind", ["noise", "tone", "chirp", "near-silence", "silence"])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_equals_librosa(spec, kind):
    samples = signal(kind, 2 * spec.sample_rate_hz, spec.sample_rate_hz)
    ours = log_mel(samples, spec)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, librosa_log_mel(samples, spec), rtol=0, atol=1e-4)


@pytest.mark.parametrize("spec", [SPECS["defaults"], SPECS["fft is odd"]], ids=["even", "odd"])
@pytest.mark.filterwarnings("ignore:n_fft=.* is too large for input signal")
@pytest.mark.parametrize("n_samples", [1, 159, 160, 161, 400, 12_345, 16_000, 31_999])
def test_equals_librosa_at_any_length(n_samples, spec):
    samples = signal("noise", n_samples)
    reference = librosa_log_mel(samples, spec)
    np.testing.assert_allclose(log_mel(samples, spec), reference, rtol=0, atol=1e-4)


@pytest.mark.parametrize("n_frames", [BLOCK_FRAMES, BLOCK_FRAMES + 1, 2 * BLOCK_FRAMES + 77])
def test_equals_librosa_over_several_blocks(n_frames):
    spec = FeatureSpec()
    samples = signal("noise", (n_frames - 1) * spec.hop_length + 5)
    ours = log_mel(samples, spec)
    assert len(ours) == n_frames
    np.testing.assert_allclose(ours, librosa_log_mel(samples, spec), rtol=0, atol=1e-4)


@pytest.mark.parametrize("cuts", [(1,), (160, 161), (200, 400, 600), (12_344,)], ids=str)
@pytest.mark.parametrize("spec", [SPECS["defaults"], SPECS["fft is odd"]], ids=["even", "odd"])
def test_blocks_give_the_frames_of_the_whole(spec, cuts):
    """To the rounding of a matrix product whose blocks have other sizes."""
    channels = np.stack([signal("noise", 12_345), signal("chirp", 12_345)], axis=1)
    blocks = np.concatenate(list(log_mel_blocks(np.split(channels, cuts), spec)), axis=1)
    whole = [log_mel(np.ascontiguousarray(channel), spec) for channel in channels.T]
    np.testing.assert_allclose(blocks, np.stack(whole), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("n_samples", "n_frames"), [(0, 1), (1, 1), (159, 1), (160, 2), (16_000, 101), (16_159, 101)]
)
def test_frame_count(n_samples, n_frames):
    """A centred frame at every whole hop, from 0 to the end: 1 + n_samples // 160."""
    assert log_mel(np.zeros(n_samples, np.float32), FeatureSpec()).shape == (n_frames, 64)


@pytest.mark.parametrize("frequency_hz", [220.0, 1000.0, 5000.0])
def test_tone_peaks_in_the_bin_whose_centre_is_nearest(frequency_hz):
    spec = FeatureSpec()
    tone = np.sin(2 * np.pi * frequency_hz * np.arange(16_000) / 16_000).astype(np.float32)
    centres_hz = librosa.mel_frequencies(spec.n_mels + 2, fmin=50, fmax=8000)[1:-1]
    nearest = np.abs(centres_hz - frequency_hz).argmin()
    inner = log_mel(tone, spec)[2:-2]  # frames that lie wholly within the tone
    assert (inner.argmax(axis=1) == nearest).all()


def test_silence_is_the_logarithm_of_the_offset():
    silent = log_mel(np.zeros(16_000, np.float32), FeatureSpec(log_offset=1e-3))
    np.testing.assert_allclose(silent, np.log(1e-3), rtol=1e-6)


def test_ten_times_the_amplitude_adds_the_logarithm_of_100():
    spec = FeatureSpec(log_offset=1e-12)
    samples = signal("noise", 16_000)
    louder = log_mel(10 * samples, spec) - log_mel(samples, spec)
    np.testing.assert_allclose(louder, np.log(100), atol=1e-4)


# Tiles

SPEC = FeatureSpec()


def tiles_of(samples: np.ndarray, spec: FeatureSpec, *cuts: int) -> np.ndarray:
    """Tiles of ``[n_samples]`` or ``[n_samples, n_channels]``; of mono without the channel."""
    columns = samples.reshape(len(samples), -1)
    tiles = np.concatenate(list(tile_blocks_of(np.split(columns, cuts), spec)), axis=1)
    return tiles[0] if samples.ndim == 1 else tiles


@pytest.mark.parametrize(
    ("n_samples", "n_tiles"),
    [
        (1, 1),  # shorter than one tile: filled up
        (15_999, 1),
        (16_000, 1),
        (16_001, 1),
        (31_839, 1),  # 199 frames: the second tile lacks one, and is dropped
        (31_840, 2),  # 200 frames: the last is centred on the very end
        (32_000, 2),
        (16_000 * 10, 10),
        (16_000 * 10 + 8_000, 10),
    ],
)
def test_number_of_tiles(n_samples, n_tiles):
    assert tiles_of(signal("noise", n_samples), SPEC).shape == (n_tiles, 100, 64)


def test_tiles_are_slices_of_one_log_mel():
    samples = signal("noise", 40_000)
    frames = log_mel(samples, SPEC)
    tiles = tiles_of(samples, SPEC)
    np.testing.assert_allclose(tiles.reshape(200, 64), frames[:200], rtol=0, atol=1e-5)


@pytest.mark.parametrize("cuts", [(1,), (16_000, 32_000), (15_999, 16_001, 16_161), (100, 39_999)])
def test_the_cut_into_blocks_leaves_no_trace(cuts):
    """But for the rounding of a matrix product whose blocks have other sizes."""
    samples = signal("noise", 40_000)
    np.testing.assert_allclose(tiles_of(samples, SPEC, *cuts), tiles_of(samples, SPEC), atol=1e-5)


def test_tiles_come_as_soon_as_they_are_complete():
    """Ten blocks of a second: a tile lacks its last frame until the next block has come."""
    blocks = np.split(signal("noise", 160_000)[:, None], 10)
    assert [block.shape[1] for block in tile_blocks_of(blocks, SPEC)] == [1] * 10


def test_channels_have_tiles_of_their_own():
    samples = signal("noise", 80_000).reshape(40_000, 2)
    tiles = tiles_of(samples, SPEC, 10_000)
    assert tiles.shape == (2, 2, 100, 64)
    for channel in (0, 1):
        mono = tiles_of(np.ascontiguousarray(samples[:, channel]), SPEC)
        np.testing.assert_allclose(tiles[channel], mono, atol=1e-5)


def test_short_recording_is_filled_up_with_silence():
    """Half a second: windows (±200 samples of 8,000) beyond frame 51 hear nothing of it."""
    (channels,) = tile_blocks_of(np.split(signal("noise", 16_000).reshape(8_000, 2), [20]), SPEC)
    assert channels.shape == (2, 1, 100, 64)
    np.testing.assert_allclose(channels[:, 0, 52:], np.log(1e-6), rtol=1e-6)
    assert (channels[:, 0, :50] > np.log(1e-5)).all()


def test_tile_length_follows_the_spec():
    spec = FeatureSpec(tile_s=0.25)
    assert tiles_of(signal("noise", 16_000), spec).shape == (4, 25, 64)
