"""Decoding: an open file in, mono samples at the wanted rate out; all that knows of codecs."""

import re
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from beam_features.recording import RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec

_CHUNKS = "data|SSND|Data Size|riff|Riff size"  # of WAV, AIFF, AU, W64 and RF64, as libsndfile logs
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64"),
    *(".m4a", ".aac", ".mp4", ".wma"),  # libsndfile has no decoder for these
)

_BLOCK_FRAMES = 1 << 22

Float32 = npt.NDArray[np.float32]


def decode_audio(file: BinaryIO, spec: FeatureSpec) -> Float32:
    """Decode and resample a whole recording.

    Returns:
        Mono ``[n_samples]`` at ``spec.sample_rate_hz``.

    Raises:
        RejectedRecording: the file is empty, not audio, truncated, or holds NaN or infinity.
    """
    samples, sample_rate_hz = _read_samples(file)
    if not len(samples):
        raise RejectedRecording("decode", "no_samples", "the file holds a header and no samples")
    mono = samples.mean(axis=1) if spec.channels == "mean" else samples[:, 0]
    if not np.isfinite(mono).all():
        bad = int(np.count_nonzero(~np.isfinite(mono)))
        raise RejectedRecording("decode", "not_finite", f"{bad} samples are NaN or infinite")
    return resample(mono, sample_rate_hz, spec)


def resample(samples: Float32, sample_rate_hz: int, spec: FeatureSpec) -> Float32:
    """Bring ``[n_samples]`` from `sample_rate_hz` to ``spec.sample_rate_hz``."""
    if sample_rate_hz == spec.sample_rate_hz:
        return samples
    resampled: Float32 = soxr.resample(samples, sample_rate_hz, spec.sample_rate_hz, quality="HQ")
    return resampled


def _read_samples(file: BinaryIO) -> tuple[Float32, int]:
    """Read ``[n_samples, n_channels]`` and the sample rate."""
    if not file.read(1):
        raise RejectedRecording("decode", "empty", "the file has 0 bytes")
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as audio:
            samples = _read_to_end(audio)
            sample_rate_hz, promised, log = audio.samplerate, audio.frames, audio.extra_info
    except soundfile.LibsndfileError as error:
        raise RejectedRecording("decode", _reason(error), error.error_string) from error
    if len(samples) < promised:
        detail = f"the header promises {promised} frames, {len(samples)} are there"
        raise RejectedRecording("decode", "truncated", detail)
    if missing := _missing_end(log):
        raise RejectedRecording("decode", "truncated", missing)
    return samples, sample_rate_hz


def _read_to_end(audio: soundfile.SoundFile) -> Float32:
    """Read in blocks: a header may promise more than memory holds, a FLAC from a pipe does."""
    blocks = [np.empty((0, audio.channels), np.float32)]
    while len(block := audio.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
        blocks.append(block)
    return np.concatenate(blocks)


def _reason(error: soundfile.LibsndfileError) -> str:
    """Tell damage from files that are no audio (codes: SFE_* in libsndfile's common.h)."""
    if error.code == 1:  # SF_ERR_UNRECOGNISED_FORMAT
        return "not_audio"
    return "truncated" if "lost sync" in error.error_string else "undecodable"


def _missing_end(log: str) -> str | None:
    """Find in libsndfile's parser log that the end of the file is missing.

    libsndfile itself reads on in silence when the data of a WAV, W64, RF64, AIFF or AU file should
    be longer than the file, or the last Ogg page is cut or not marked as the last. Sizes from
    0x7FFFFFFF up are what programs write that stream to a pipe and cannot go back to fill in the
    size: not a sign of damage.
    """
    if "lacks an end-of-stream bit" in log or "Junk after the last page" in log:
        return "the last Ogg page is not the end of the stream"
    for chunk, size, there in re.findall(rf"({_CHUNKS}) *: *(\d+) \(should be (\d+)\)", log):
        if int(there) < int(size) < 0x7FFFFFFF:
            return f"the {chunk} chunk promises {size} bytes, {there} are there"
    return None
