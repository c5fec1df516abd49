"""A corpus of synthetic songs with labels, generated from a seed: the default of the demo.

Eight classes differ in instrument, rhythm and register; several classes share each single one of
these. Songs of a class differ in key, tempo, melody, tone colour, room, noise and level.
"""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beam_features.recording import Listing, Recording
from dem.errors import InputError

SAMPLE_RATE_HZ = 16_000
SONG_S = 12.0
SONGS_PER_CLASS = {"train": 12, "validation": 4, "test": 6}

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Instrument:
    """Sound of a note: amplitudes, decay and stretch of its partials."""

    partials: tuple[float, ...]
    decay_s: float
    attack_s: float
    stretch: float = 1.0  # frequency of partial k is f0 * k ** stretch


@dataclass(frozen=True)
class _Style:
    """A class of songs: instrument, register, and the onsets of the notes in a 4-beat bar."""

    instrument: str
    lowest_midi: int
    onsets_beats: tuple[float, ...]


_INSTRUMENTS = {
    "pluck": _Instrument((1.0, 0.6, 0.4, 0.3, 0.2, 0.15), decay_s=0.35, attack_s=0.003),
    "organ": _Instrument((1.0, 0.8, 0.1, 0.6, 0.05, 0.05, 0.05, 0.4), decay_s=6.0, attack_s=0.04),
    "bell": _Instrument((1.0, 0.6, 0.5, 0.35, 0.2), decay_s=0.9, attack_s=0.002, stretch=1.25),
    "reed": _Instrument((1.0, 0.05, 0.7, 0.05, 0.5, 0.05, 0.3), decay_s=1.5, attack_s=0.03),
}
_EVEN = (0.0, 1.0, 2.0, 3.0)
_RUNNING = tuple(beat / 4 for beat in range(16))
_SYNCOPATED = (0.0, 0.75, 1.5, 2.5, 3.25)
_LOW, _HIGH = 43, 62
STYLES = {
    "pluck_low_even": _Style("pluck", _LOW, _EVEN),
    "pluck_high_running": _Style("pluck", _HIGH, _RUNNING),
    "organ_low_syncopated": _Style("organ", _LOW, _SYNCOPATED),
    "organ_high_even": _Style("organ", _HIGH, _EVEN),
    "bell_low_running": _Style("bell", _LOW, _RUNNING),
    "bell_high_syncopated": _Style("bell", _HIGH, _SYNCOPATED),
    "reed_low_running": _Style("reed", _LOW, _RUNNING),
    "reed_high_syncopated": _Style("reed", _HIGH, _SYNCOPATED),
}
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)


def list_recordings(source: str) -> Listing:
    """List the songs of the corpus.

    Args:
        source: ``sample:SEED``; equal seeds give equal songs.

    Raises:
        InputError: `source` has another form.
    """
    if not re.fullmatch(r"sample:\d+", source):
        raise InputError(f"--input of the sample dataset must be sample:SEED, not {source!r}")
    partitions = [name for name, songs in SONGS_PER_CLASS.items() for _ in range(songs)]
    return Listing(
        tuple(
            _recording(f"{source}/{style}/{index:02d}", style, partition)
            for style in STYLES
            for index, partition in enumerate(partitions)
        )
    )


def _recording(uri: str, style: str, partition: str) -> Recording:
    song = uri.removeprefix("sample:")
    return Recording(song, uri, style, partition, context_id=song, session_id=song)


def is_sample(uri: str) -> bool:
    """Whether `uri` names a song of this corpus."""
    return uri.startswith("sample:")


def synthesise(uri: str) -> Float32:
    """Render a song: mono ``[SONG_S * SAMPLE_RATE_HZ]``, full scale 1."""
    seed, name, index = uri.removeprefix("sample:").split("/")
    rng = np.random.default_rng([int(seed), list(STYLES).index(name), int(index)])
    style = STYLES[name]
    song = _play(style, _INSTRUMENTS[style.instrument], rng)
    song = _colour(song, rng)
    song /= np.abs(song).max()
    noise = _colour(rng.standard_normal(len(song)), rng)
    noise_db = rng.uniform(-40, -15)
    song += noise / np.abs(noise).max() * 10 ** (noise_db / 20)
    level_db = rng.uniform(-18, -3)
    return (song * 10 ** (level_db / 20)).astype(np.float32)


def _play(
    style: _Style, instrument: _Instrument, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Place notes of a random walk through a random scale at the style's onsets."""
    beat_s = 60 / rng.uniform(80, 130)
    scale = _MAJOR if rng.random() < 0.5 else _MINOR
    tonic = style.lowest_midi + int(rng.integers(0, 9))
    degree = int(rng.integers(0, 7))
    song = np.zeros(round(SONG_S * SAMPLE_RATE_HZ))
    bars = int(np.ceil(SONG_S / (4 * beat_s)))
    onsets = [4 * bar + beat for bar in range(bars) for beat in style.onsets_beats]
    for onset, following in zip(onsets, [*onsets[1:], 4 * bars], strict=True):
        degree = int(np.clip(degree + rng.integers(-2, 3), 0, 13))
        midi = tonic + 12 * (degree // 7) + scale[degree % 7]
        start = round((onset * beat_s + rng.normal(0, 0.008)) * SAMPLE_RATE_HZ)
        if rng.random() < 0.1 or not 0 <= start < len(song):
            continue  # a rest
        note = _note(instrument, midi, (following - onset) * beat_s, rng)[: len(song) - start]
        song[start : start + len(note)] += note
    return song


def _note(
    instrument: _Instrument, midi: float, duration_s: float, rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Sum decaying partials; higher ones fade faster, as in most instruments."""
    time_s = np.arange(round((duration_s + 0.1) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    f0_hz = 440 * 2 ** ((midi - 69) / 12)
    note = np.zeros(len(time_s))
    for number, amplitude in enumerate(instrument.partials, start=1):
        frequency_hz = f0_hz * number**instrument.stretch
        if frequency_hz < SAMPLE_RATE_HZ / 2:
            fade = np.exp(-time_s / instrument.decay_s * number**0.5)
            phase = rng.uniform(0, 2 * np.pi)
            note += amplitude * fade * np.sin(2 * np.pi * frequency_hz * time_s + phase)
    attack = np.minimum(time_s / instrument.attack_s, 1)
    release = np.clip((duration_s + 0.1 - time_s) / 0.1, 0, 1)
    return note * attack * release * rng.uniform(0.5, 1.0)


def _colour(samples: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Filter with a random smooth response of about ±10 dB: another microphone, another room."""
    knots_db = rng.normal(0, 5, 8)
    spectrum = np.fft.rfft(samples)
    position = np.linspace(0, 7, len(spectrum))
    gain_db = np.interp(position, np.arange(8), knots_db)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(samples))
