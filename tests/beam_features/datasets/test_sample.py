"""The synthetic corpus: deterministic, balanced, sane as audio."""

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
from dem.errors import InputError

URIS = [f"sample:0/{style}/{index:02d}" for style in STYLES for index in (0, 21)]


def test_counts():
    """8 classes of 12 + 4 + 6 songs."""
    recordings = list_recordings("sample:0").recordings
    assert Counter(r.partition for r in recordings) == {"train": 96, "validation": 32, "test": 48}
    assert Counter(r.label for r in recordings) == dict.fromkeys(STYLES, 22)
    assert len({r.context_id for r in recordings}) == len(recordings) == 176


def test_instrument_rhythm_and_register_are_each_shared_by_several_classes():
    for words in zip(*(style.split("_") for style in STYLES), strict=True):
        assert min(Counter(words).values()) >= 2


def test_identity_of_a_song():
    recording = list_recordings("sample:7").recordings[0]
    assert recording.uri == "sample:7/pluck_low_even/00"
    assert recording.recording_id == recording.context_id == "7/pluck_low_even/00"
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
    ["sample:1/pluck_low_even/00", "sample:0/pluck_low_even/01", "sample:0/bell_low_running/00"],
)
def test_seed_style_and_number_each_change_the_song(other):
    song, another = synthesise("sample:0/pluck_low_even/00"), synthesise(other)
    assert abs(np.corrcoef(song, another)[0, 1]) < 0.2


@pytest.mark.parametrize(
    "source", ["sample", "sample:", "sample:x", "sample:-1", "/data", "sample:1 "]
)
def test_other_sources_are_refused(source):
    with pytest.raises(InputError) as refusal:
        list_recordings(source)
    message = f"--input of the sample dataset must be sample:SEED, not {source!r}"
    assert str(refusal.value) == message
