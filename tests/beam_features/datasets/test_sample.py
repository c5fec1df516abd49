"""The synthetic corpus: deterministic, balanced, sane as audio, told apart by order in time."""

from collections import Counter

import numpy as np
import pytest

from beam_features.datasets.sample import (
    SAMPLE_RATE_HZ,
    SONG_S,
    STYLES,
    is_sample,
    list_recordings,
    synthesise,
)
from beam_features.schema.audio.log_mel import log_mel
from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError

URIS = [f"sample:0/{style}/{index:02d}" for style in STYLES for index in (0, 21)]
SAMPLES = [-0.03523, 0.16136, -0.00420]


def test_counts():
    """8 classes of 12 + 4 + 6 songs."""
    recordings = list_recordings("sample:0").recordings
    assert Counter(r.partition for r in recordings) == {"train": 96, "validation": 32, "test": 48}
    assert Counter(r.label for r in recordings) == dict.fromkeys(STYLES, 22)
    assert len({r.context_id for r in recordings}) == len(recordings) == 176


def test_each_direction_is_that_of_half_of_the_styles():
    for words in zip(*(style.split("_") for style in STYLES), strict=True):
        assert sorted(Counter(words).values()) == [4, 4]


def test_identity_of_a_song():
    recording = list_recordings("sample:7").recordings[0]
    assert recording.uri == "sample:7/rise_strike_low/00"
    assert recording.recording_id == recording.context_id == "7/rise_strike_low/00"
    assert recording.session_id == recording.recording_id
    assert is_sample(recording.uri)
    assert not is_sample("/data/sample/1.wav")


@pytest.mark.parametrize("uri", URIS)
def test_songs_are_sane_audio(uri):
    song = synthesise(uri)
    assert song.dtype == np.float32
    assert song.shape == (round(SONG_S * SAMPLE_RATE_HZ),)
    assert np.isfinite(song).all()
    assert 10 ** (-19 / 20) < np.abs(song).max() <= 1
    assert abs(song.mean()) < 0.01


def test_equal_uris_give_equal_songs():
    np.testing.assert_array_equal(synthesise(URIS[3]), synthesise(URIS[3]))


@pytest.mark.parametrize(
    "other",
    ["sample:1/rise_strike_low/00", "sample:0/rise_strike_low/01", "sample:0/fall_swell_high/00"],
)
def test_seed_style_and_number_each_change_the_song(other):
    song, another = synthesise("sample:0/rise_strike_low/00"), synthesise(other)
    assert abs(np.corrcoef(song, another)[0, 1]) < 0.2


def test_songs_are_the_same_on_every_machine():
    song = synthesise("sample:0/rise_strike_low/00")
    np.testing.assert_allclose(song[[1_000, 50_000, 150_000]], SAMPLES, atol=1e-5)


@pytest.fixture(scope="module")
def spectra():
    """Log-mel spectra ``[frames, mels]`` of four songs of each style, by URI."""
    uris = [f"sample:1/{style}/{index:02d}" for style in STYLES for index in range(4)]
    return {uri: log_mel(synthesise(uri), FeatureSpec()).astype(np.float64) for uri in uris}


def glide(spectrum):
    """How much more like its future, one bin higher, a bin is than one bin lower."""
    now, later = spectrum[:-3] - spectrum.mean(axis=0), spectrum[3:] - spectrum.mean(axis=0)
    return np.mean(now[:, :-1] * later[:, 1:]) - np.mean(now[:, 1:] * later[:, :-1])


def attack(spectrum):
    """Above zero where the level rises fast and falls slowly."""
    return np.mean(np.diff(spectrum, axis=0) ** 3)


def lead(spectrum):
    """How much more often high bins follow low ones within 0.06 to 0.12 s than the reverse."""
    low, high = (spectrum[:, bins].mean(axis=1) for bins in (slice(2, 8), slice(12, 24)))
    low, high = low - low.mean(), high - high.mean()
    lags = range(6, 13)
    return sum(np.mean(low[:-k] * high[k:]) - np.mean(high[:-k] * low[k:]) for k in lags)


@pytest.mark.parametrize(
    ("measure", "position", "word"), [(glide, 0, "rise"), (attack, 1, "strike"), (lead, 2, "low")]
)
def test_order_in_time_tells_the_styles(spectra, measure, position, word):
    agree = [
        (measure(spectrum) > 0) == (uri.split("/")[1].split("_")[position] == word)
        for uri, spectrum in spectra.items()
    ]
    assert np.mean(agree) > 0.9


def test_level_and_spectrum_do_not_tell_the_styles(spectra):
    """Chance that the nearest song by z-scored means and deviations is of the style: 3 / 31."""
    vectors = np.array([np.r_[s.mean(axis=0), s.std(axis=0)] for s in spectra.values()])
    vectors = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    distances = np.square(vectors[:, None] - vectors).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    styles = np.array([uri.split("/")[1] for uri in spectra])
    assert np.mean(styles[distances.argmin(axis=1)] == styles) < 0.3


@pytest.mark.parametrize(
    "source", ["sample", "sample:", "sample:x", "sample:-1", "/data", "sample:1 "]
)
def test_other_sources_are_refused(source):
    with pytest.raises(InputError) as refusal:
        list_recordings(source)
    message = f"--input of the sample dataset must be sample:SEED, not {source!r}"
    assert str(refusal.value) == message
