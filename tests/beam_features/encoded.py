"""Signals, and their bytes in every format that libsndfile writes."""

import io

import numpy as np
import soundfile

RATE_HZ = 16_000
FORMATS = {  # how far a decoded sample may lie from the original
    ("WAV", "PCM_16"): 2**-15,
    ("WAV", "PCM_24"): 2**-23,
    ("WAV", "FLOAT"): 1e-7,
    ("FLAC", "PCM_16"): 2**-15,
    ("AIFF", "PCM_16"): 2**-15,
    ("AU", "PCM_16"): 2**-15,
    ("W64", "PCM_16"): 2**-15,
    ("OGG", "VORBIS"): 0.02,
    ("OGG", "OPUS"): 0.02,
    ("MP3", "MPEG_LAYER_III"): 0.02,
}


def tone(seconds: float = 2.0, rate_hz: int = RATE_HZ, frequency_hz: float = 440.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.25 * np.sin(2 * np.pi * frequency_hz * time_s)


def noisy_tone(seconds: float = 6.0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Long enough, and rich enough, that half of any encoding holds whole frames of audio."""
    samples = tone(seconds, rate_hz)
    return samples + np.random.default_rng(0).normal(0, 0.01, len(samples))


def encode(samples, form="WAV", subtype="PCM_16", rate_hz=RATE_HZ) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()
