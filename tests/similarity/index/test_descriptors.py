"""Tempo, key and loudness of sounds that are known."""

import numpy as np
import pytest
import soundfile

from similarity.index.descriptors import describe, describe_files, key_of, read_middle

RATE_HZ = 16_000


def tone(hz: float, seconds: float = 1.0, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * RATE_HZ)) / RATE_HZ)).astype(
        np.float32
    )


def scale(*semitones: int) -> np.ndarray:
    """Notes above A at 220 Hz, half a second each: 120 beats a minute, with a gap before each."""
    gap = np.zeros(800, np.float32)
    notes = [tone(220 * 2 ** (step / 12), 0.45) for step in semitones]
    return np.concatenate([part for note in notes for part in (gap, note)])


def test_a_scale_in_a_major():
    found = describe(np.tile(scale(0, 4, 7, 0, 2, 4, 5, 7, 9, 11, 12, 7, 4, 0), 2), RATE_HZ)
    assert found.key == "A major"
    assert found.tempo == pytest.approx(120, abs=4)


def test_loudness_of_a_sine():
    """Mean power of a sine of amplitude 0.2 is 0.02, -17.0 dB."""
    assert describe(tone(440, 3.0), RATE_HZ).loudness == -17.0


def test_silence_has_no_key():
    found = describe(np.zeros(RATE_HZ, np.float32), RATE_HZ)
    assert (found.tempo, found.key, found.loudness) == (None, None, -120.0)


def test_keys_by_profile():
    minor = np.roll([6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17], 2)
    assert key_of(minor) == "D minor"


def test_the_middle_of_a_long_recording(tmp_path):
    path = str(tmp_path / "long.wav")
    quarter = RATE_HZ * 75
    samples = np.concatenate(
        [np.full(quarter, level, np.float32) for level in (0.1, 0.2, 0.3, 0.4)]
    )
    soundfile.write(path, samples, RATE_HZ, "FLOAT")
    middle = read_middle(path, 300.0)
    assert len(middle) == 120 * RATE_HZ
    assert (middle[0], middle[-1]) == (pytest.approx(0.2), pytest.approx(0.3))


def test_a_broken_file_has_none(tmp_path, caplog):
    path = tmp_path / "no.wav"
    path.write_bytes(b"no audio")
    (found,) = describe_files([(str(path), 1.0)])
    assert (found.tempo, found.key, found.loudness) == (None, None, None)
