"""A corpus of synthetic songs with labels, generated from a seed: the default of the demo.

Eight styles are told apart by order in time alone: notes glide up or down, they are struck or they
swell, and of each pair of voices the low or the high one leads. Level, spectrum and modulation
spectrum are nearly the same in all styles. Instruments, rhythm, key, register, tempo, melody,
microphone, room, background noise and level vary from song to song in each style.
"""

import itertools
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
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Style:
    """A class of songs: how notes glide, how they begin, and which voice leads."""

    rises: bool
    swells: bool
    low_leads: bool


@dataclass(frozen=True)
class _Instrument:
    """Sound of a note: amplitudes, decay and stretch of its partials."""

    partials: tuple[float, ...]
    decay_s: float
    stretch: float = 1.0  # frequency of partial k is f0 * k ** stretch


@dataclass(frozen=True)
class _Song:
    """What holds throughout a song.

    Attributes:
        beat_s: duration of a beat.
        onsets_beats: of the pairs of notes in a bar of 4 beats.
        scale_midi: pitches of the low voice.
        voices: instrument and semitones above the low voice; the leading one first.
        lag_beats: from the leading voice to the other.
        glide_octaves: how far the pitch of a note moves; below 0 it falls.
        swells: whether notes are played backwards.
    """

    beat_s: float
    onsets_beats: tuple[float, ...]
    scale_midi: tuple[int, ...]
    voices: tuple[tuple[_Instrument, int], ...]
    lag_beats: float
    glide_octaves: float
    swells: bool


STYLES = {
    f"{glide}_{attack}_{leader}": _Style(glide == "rise", attack == "swell", leader == "low")
    for glide in ("rise", "fall")
    for attack in ("strike", "swell")
    for leader in ("low", "high")
}
_INSTRUMENTS = (  # like a plucked string, an organ, a bell and a reed
    _Instrument((1.0, 0.6, 0.4, 0.3, 0.2, 0.15), decay_s=0.08),
    _Instrument((1.0, 0.8, 0.1, 0.6, 0.05, 0.05, 0.05, 0.4), decay_s=0.15),
    _Instrument((1.0, 0.6, 0.5, 0.35, 0.2), decay_s=0.12, stretch=1.25),
    _Instrument((1.0, 0.05, 0.7, 0.05, 0.5, 0.05, 0.3), decay_s=0.1),
)
_RHYTHMS_BEATS = (  # equally many onsets in a bar
    (0.0, 1.0, 1.5, 2.0, 3.0, 3.5),
    (0.0, 0.75, 1.5, 2.0, 2.75, 3.5),
    (0.0, 0.5, 1.0, 2.0, 2.5, 3.0),
)
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11, 12), (0, 2, 3, 5, 7, 8, 10, 12)
_BETWEEN_VOICES = 19  # semitones
_NOTE_BEATS = 0.45
_MICROPHONES_DB = np.array(
    [  # at equally spaced frequencies from 0 to the highest: thin, and muffled
        [-12.0, 0.0, 0.0, 2.0, 6.0, 4.0, 0.0, -4.0],
        [3.0, 2.0, 0.0, -3.0, -6.0, -10.0, -14.0, -18.0],
    ]
)


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
    music = _play(_draw_song(STYLES[name], rng), rng)
    music = _filter(music, rng.normal(0, 3, 8))  # the room
    heard = music / np.abs(music).max() + _background(len(music), rng)
    heard = _filter(heard, _MICROPHONES_DB[rng.integers(2)])
    heard *= 10 ** (rng.uniform(-18, -3) / 20) / np.abs(heard).max()
    return heard.astype(np.float32)


def _draw_song(style: _Style, rng: np.random.Generator) -> _Song:
    """Draw a song of a style; the style decides on directions and order alone."""
    tonic_midi = int(rng.integers(43, 62))
    scale = _MAJOR if rng.random() < 0.5 else _MINOR
    low, high = (_INSTRUMENTS[number] for number in rng.integers(len(_INSTRUMENTS), size=2))
    voices = ((low, 0), (high, _BETWEEN_VOICES))
    return _Song(
        beat_s=60 / rng.uniform(80, 130),
        onsets_beats=_RHYTHMS_BEATS[rng.integers(len(_RHYTHMS_BEATS))],
        scale_midi=tuple(tonic_midi + semitones for semitones in scale),
        voices=voices if style.low_leads else voices[::-1],
        lag_beats=rng.uniform(0.12, 0.2),
        glide_octaves=rng.uniform(0.3, 0.6) * (1 if style.rises else -1),
        swells=style.swells,
    )


def _play(song: _Song, rng: np.random.Generator) -> Float64:
    """Let the pair of voices walk at random through the scale, at the onsets of the rhythm."""
    samples = np.zeros(round(SONG_S * SAMPLE_RATE_HZ))
    bars = int(np.ceil(SONG_S / (4 * song.beat_s)))
    degree = int(rng.integers(len(song.scale_midi)))
    for bar, beat in itertools.product(range(bars), song.onsets_beats):
        degree = int(np.clip(degree + rng.integers(-3, 4), 0, len(song.scale_midi) - 1))
        for number, (instrument, interval) in enumerate(song.voices):
            onset_s = (4 * bar + beat + number * song.lag_beats) * song.beat_s
            start = max(round((onset_s + rng.normal(0, 0.008)) * SAMPLE_RATE_HZ), 0)
            note = _note(instrument, song.scale_midi[degree] + interval, song, rng)
            span = samples[start : start + len(note)]
            span += note[: len(span)]  # the last notes are cut off
    return samples


def _note(instrument: _Instrument, midi: float, song: _Song, rng: np.random.Generator) -> Float64:
    """Sum partials that glide through `midi` and decay; backwards if the song's notes swell."""
    duration_s = _NOTE_BEATS * song.beat_s
    time_s = np.arange(round(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    octaves = -song.glide_octaves if song.swells else song.glide_octaves
    middle_hz = 440 * 2 ** ((midi - 69) / 12)
    rate = octaves * np.log(2) / duration_s
    cycles = middle_hz * 2 ** (-octaves / 2) * np.expm1(rate * time_s) / rate
    note = np.zeros(len(time_s))
    for number, amplitude in enumerate(instrument.partials, start=1):
        ratio = number**instrument.stretch
        if middle_hz * 2 ** (abs(octaves) / 2) * ratio < SAMPLE_RATE_HZ / 2:
            note += amplitude * np.sin(2 * np.pi * (ratio * cycles + rng.random()))
    attack = np.minimum(time_s / 0.004, 1)
    release = np.clip((duration_s - time_s) / 0.02, 0, 1)
    note *= attack * np.exp(-time_s / instrument.decay_s) * release * rng.uniform(0.5, 1.0)
    return note[::-1] if song.swells else note


def _background(n_samples: int, rng: np.random.Generator) -> Float64:
    """Noise of a random colour, from rumble to hiss, whose level wanders."""
    slope_db = rng.uniform(-30, 10)
    noise = _filter(rng.standard_normal(n_samples), np.linspace(0, slope_db, 8))
    seconds = np.arange(SONG_S + 1)
    wander_db = np.interp(
        np.arange(n_samples) / SAMPLE_RATE_HZ, seconds, rng.normal(0, 3, len(seconds))
    )
    noise *= 10 ** ((rng.uniform(-30, -10) + wander_db) / 20) / np.abs(noise).max()
    return noise


def _filter(samples: Float64, response_db: Float64) -> Float64:
    """Apply a smooth response, given at equally spaced frequencies from 0 to the highest."""
    spectrum = np.fft.rfft(samples)
    position = np.linspace(0, len(response_db) - 1, len(spectrum))
    gain_db = np.interp(position, np.arange(len(response_db)), response_db)
    return np.fft.irfft(spectrum * 10 ** (gain_db / 20), len(samples))
