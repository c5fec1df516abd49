"""Tempo, key and loudness of a recording, by librosa."""

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from beam_features.schema.audio.decode import Decoder, by_any_decoder, open_recording, samples_of
from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec

_LOG = logging.getLogger(__name__)

_SPEC = FeatureSpec()
RATE_HZ = _SPEC.sample_rate_hz
_LONGEST_S = 120.0  # from the middle of the recording
_QUIETEST_DB = -120.0
_NAMES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
# How well each pitch class fits a key on C (Krumhansl and Kessler, Psychol. Rev. 89, 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Descriptors:
    """What was measured: beats per minute, key, and mean power in dB of full scale."""

    tempo: float | None = None
    key: str | None = None
    loudness: float | None = None


def describe_files(files: Sequence[tuple[str, float]]) -> Iterator[Descriptors]:
    """Measure many recordings in as many processes as there are cores, with a progress bar.

    Args:
        files: URI and length in seconds of each.

    Yields:
        One for each file, in order; empty where it cannot be decoded.
    """
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(files)) or 1) as processes:
        measured = processes.map(describe_file, files)
        yield from tqdm(measured, "tempo, key, loudness", len(files), unit="song", disable=None)


def describe_file(file: tuple[str, float]) -> Descriptors:
    """Measure one recording."""
    uri, seconds = file
    try:
        samples = read_middle(uri, seconds)
    except (RejectedRecording, OSError) as error:
        _LOG.warning(f"cannot describe {uri}: {error}")
        return Descriptors()
    return describe(samples, RATE_HZ)


def describe(samples: Float32, rate_hz: int) -> Descriptors:
    """Measure mono samples ``[n]``; silence has neither tempo nor key."""
    import librosa  # takes seconds to import

    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    loudness = max(10 * np.log10(max(power, 1e-30)), _QUIETEST_DB)
    if loudness <= _QUIETEST_DB:
        return Descriptors(loudness=_QUIETEST_DB)
    tempo = float(np.ravel(librosa.feature.tempo(y=samples, sr=rate_hz))[0])
    chroma = librosa.feature.chroma_cqt(y=samples, sr=rate_hz)
    return Descriptors(round(tempo, 1), key_of(chroma.mean(axis=1)), round(loudness, 1))


def key_of(chroma: npt.NDArray[np.floating]) -> str:
    """Find the key whose profile correlates best with the energy of each pitch class ``[12]``."""
    scores = {
        f"{_NAMES[tonic]} {mode}": np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]
        for tonic in range(12)
        for mode, profile in (("major", _MAJOR), ("minor", _MINOR))
    }
    return max(scores, key=scores.__getitem__)


def read_middle(uri: str, seconds: float, longest_s: float = _LONGEST_S) -> Float32:
    """Decode the middle of a recording that lasts `seconds`: mono ``[n]`` at 16 kHz.

    Raises:
        RejectedRecording: it cannot be decoded.
    """
    start = int(max(0.0, (seconds - longest_s) / 2) * RATE_HZ)
    end = start + int(longest_s * RATE_HZ)

    def read(decoder: Decoder) -> Iterator[Float32]:
        parts, position = [np.empty(0, np.float32)], 0
        with open_recording(uri, decoder) as (sound, _):
            for block in samples_of(sound, _SPEC):
                parts.append(block[max(start - position, 0) : max(end - position, 0), 0])
                position += len(block)
        yield np.concatenate(parts)

    (samples,) = by_any_decoder(read)
    return samples
