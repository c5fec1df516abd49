"""From an open file to samples at the features' rate: decoders, checks, resampling."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, TypeVar

import numpy as np

from beam_features.schema.audio import ffmpeg, libsndfile
from beam_features.schema.audio.files import Audio, BrokenFile, Float32, RejectedRecording
from beam_features.schema.audio.signal import Measured, checked, resampled, select_channels
from beam_features.schema.feature_spec import FeatureSpec
from dem import storage

_ERRORS_OF_A_FILE = (
    *(errno.EIO, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
    *(errno.ESTALE, errno.ENXIO, errno.ENODEV),
)
# Another decoder may help. Where none does, the reason that comes last here says most.
_OF_DECODERS = (
    *("not_audio", "unsupported_codec", "unknown_length", "undecodable", "no_samples"),
    "truncated",
)

T = TypeVar("T")
Decoder = Callable[[BinaryIO], AbstractContextManager[Audio]]


@contextmanager
def open_recording(uri: str, decoder: Decoder) -> Iterator[tuple[Audio, int]]:
    """Open a recording with a decoder; yield it and its size in bytes.

    Raises:
        RejectedRecording: the file is missing, cannot be read, or the decoder rejects it.
        OSError: the storage itself fails.
    """
    try:
        with storage.open_binary(uri) as file:
            n_bytes = file.seek(0, 2)
            file.seek(0)
            with decoder(file) as sound:
                yield sound, n_bytes
    except FileNotFoundError as error:
        raise RejectedRecording("read", "missing", "there is no such file") from error
    except PermissionError as error:
        raise RejectedRecording("read", "unreadable", "permission denied") from error
    except OSError as error:
        if error.errno not in _ERRORS_OF_A_FILE:  # the storage itself fails, or the disk is full
            raise
        raise RejectedRecording("read", "unreadable", os.strerror(error.errno)) from error


def by_any_decoder(read: Callable[[Decoder], Iterator[T]]) -> Iterator[T]:
    """Read with libsndfile; where it does not read the whole file, with ffmpeg.

    Args:
        read: reads a recording with a given decoder; it rejects before its first item or never.

    Raises:
        RejectedRecording: neither decoder reads all of it, or ffmpeg is not installed.
    """
    try:
        yield from read(libsndfile.open_audio)
    except BrokenFile:
        raise
    except RejectedRecording as rejection:
        if rejection.reason not in _OF_DECODERS or not ffmpeg.is_installed():
            raise
        try:
            yield from read(ffmpeg.open_audio)
        except RejectedRecording as by_ffmpeg:
            raise max(rejection, by_ffmpeg, key=_says) from None


def _says(rejection: RejectedRecording) -> int:
    """How much a reason says: of two that are equal, the first is reported."""
    reason = rejection.reason
    return _OF_DECODERS.index(reason) if reason in _OF_DECODERS else len(_OF_DECODERS)


def samples_of(
    sound: Audio,
    spec: FeatureSpec,
    max_duration_s: float | None = None,
    measured: Measured | None = None,
) -> Iterator[Float32]:
    """Yield blocks ``[n, n_channels]`` of the spec's channels at ``spec.sample_rate_hz``.

    `measured`, if given, records what the samples are.

    Raises:
        RejectedRecording: see `beam_features.schema.audio.signal.checked`.
    """
    rate_hz = sound.sample_rate_hz
    blocks = checked(sound.blocks, rate_hz, max_duration_s)
    return resampled(select_channels(blocks, spec, measured), rate_hz, spec)


def decode(file: BinaryIO, spec: FeatureSpec) -> Float32:
    """Decode a whole recording: ``[n_samples, n_channels]`` at ``spec.sample_rate_hz``.

    Raises:
        RejectedRecording: it cannot be used.
    """

    def read(decoder: Decoder) -> Iterator[Float32]:
        file.seek(0)
        with decoder(file) as sound:
            yield np.concatenate(list(samples_of(sound, spec)))

    (samples,) = by_any_decoder(read)
    return samples
