"""The first decoder: libsndfile. What it does not read to the end is left to `ffmpeg`."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import soundfile

from beam_features.schema.audio import flac, mpeg
from beam_features.schema.audio.extent import Extent
from beam_features.schema.audio.files import Audio, Float32, RejectedRecording, check_rate
from beam_features.schema.audio.promise import (
    Promise,
    behind_tags,
    check_length,
    read_promise,
    view_of_audio,
)

_BLOCK_VALUES = 1 << 19  # over all channels: 2 MiB, which bounds the memory and fits the cache
_READ_AHEAD_BYTES = 1 << 17  # more than libsndfile reads before it needs it
_LOOK_AHEAD_BYTES = 1 << 24  # covers the tags and the picture between two files
_NO_LENGTH = 1 << 62  # libsndfile reports more for a FLAC that was written to a pipe
_FORMATS = (  # those whose length is checked
    *("WAV", "WAVEX", "RF64", "W64", "AIFF", "CAF", "AU", "VOC", "NIST"),
    *("FLAC", "OGG", "MP3"),
)
_OTHER_FORMATS = {  # first bytes of audio formats that libsndfile does not support
    name: re.compile(beginning, re.DOTALL)
    for name, beginning in {
        "MPEG-4": rb".{4}ftyp",
        "AAC": rb"\xff[\xf0\xf1\xf8\xf9]",
        "ASF (WMA)": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "Matroska (WebM)": rb"\x1aE\xdf\xa3",
        "WavPack": rb"wvpk",
        "Monkey's Audio": rb"MAC ",
        "True Audio": rb"TTA[12]",
        "AMR": rb"#!AMR",
        "AC-3": rb"\x0bw",
        "DTS": rb"\x7f\xfe\x80\x01",
    }.items()
}
_REASONS = {
    "lost sync": "truncated",
    "unimplemented format": "unsupported_codec",
    "unsupported encoding": "unsupported_codec",
}
_INSTALL = "install ffmpeg, or the extra `ffmpeg`, to read it"


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Decode with libsndfile. Opening, or any block, may raise.

    Raises:
        RejectedRecording: the file is empty, not audio, of a codec that libsndfile does not
            support, corrupt, or truncated, or libsndfile does not read all of it.
    """
    file = behind_tags(file)
    file.seek(0)
    head = file.read(16)
    if not head:
        raise RejectedRecording("decode", "empty", "the file has 0 bytes")
    said = read_promise(file)
    if said.parts > 1:
        detail = f"the file has {said.parts} parts, of which libsndfile reads the first; {_INSTALL}"
        raise RejectedRecording("decode", "unknown_length", detail)
    if said.begins_late:
        detail = f"the first Ogg page of audio says more frames than it can hold; {_INSTALL}"
        raise RejectedRecording("decode", "unknown_length", detail)
    file = view_of_audio(file, said)
    file.seek(0)
    source = _Source(file)
    try:
        sound = _Forward(source)
    except soundfile.SoundFileError as error:
        source.check()
        raise _refusal(error, head, said.extent) from error
    with sound:
        source.check()
        if sound.format not in _FORMATS:
            detail = f"files of the format {sound.format} are not supported"
            raise RejectedRecording("decode", "unsupported_codec", detail)
        blocks = _checked(_read_blocks(sound, source), sound, source, said)
        yield Audio(check_rate(sound.samplerate), blocks)


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from start to end.

    soundfile seeks after every read of a seekable file. libsndfile fails to do so at the end of a
    FLAC whose header gives no length, such as one that was written to a pipe.
    """

    def seekable(self) -> bool:
        return False


class _Source:
    """A file whose errors are kept until libsndfile has returned.

    libsndfile calls it back, and an exception cannot pass through it: a failure of the storage
    would look like the end of the file.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self._error: BaseException | None = None

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, or return -1 where there is no such position, as the header may demand."""
        try:
            return self.file.seek(offset, whence)
        except (ValueError, OverflowError):
            return -1
        except OSError as error:
            if error.errno != errno.EINVAL:
                self._error = self._error or error
            return -1

    def tell(self) -> int:
        """Give the position."""
        return self.file.tell()

    def readinto(self, buffer: memoryview) -> int:
        """Read, or return 0 if the file failed."""
        if self._error is not None:
            return 0
        try:
            data = self.file.read(len(buffer))
        except BaseException as error:  # `check` raises it
            self._error = error
            return 0
        buffer[: len(data)] = data
        return len(data)

    def check(self) -> None:
        """Raise what the file raised."""
        if self._error is not None:
            raise self._error


def _read_blocks(sound: soundfile.SoundFile, source: _Source) -> Iterator[Float32]:
    """Read as much as libsndfile says there is."""
    frames_per_block = max(1, _BLOCK_VALUES // sound.channels)
    # Behind the last frame of a FLAC, libFLAC takes a tag for a frame that it lost.
    limit = _NO_LENGTH if _is_estimate(sound) else sound.frames
    n_frames = 0
    while n_frames < limit:
        size = min(frames_per_block, limit - n_frames)
        try:
            block = sound.read(size, dtype="float32", always_2d=True)
        except soundfile.SoundFileError as error:
            source.check()
            raise _failure(error, n_frames, sound.frames) from error
        source.check()
        if not len(block):
            return
        n_frames += len(block)
        yield block


def _checked(
    blocks: Iterator[Float32], sound: soundfile.SoundFile, source: _Source, said: Promise
) -> Iterator[Float32]:
    """Yield the blocks, then check that they are all that the file says and holds."""
    n_frames = 0
    for block in blocks:
        n_frames += len(block)
        yield block
    if not _is_estimate(sound) and n_frames < sound.frames < _NO_LENGTH:
        detail = f"the header says {sound.frames} frames, the file holds {n_frames}"
        raise RejectedRecording("decode", "truncated", detail)
    check_length(said.seconds, n_frames, sound.samplerate, "libsndfile")
    if _is_mpeg(sound):
        _check_mpeg(source.file, n_frames, sound.samplerate)
    if sound.format == "FLAC" and _flac_goes_on(source.file):
        detail = f"frames of FLAC follow the last one that the header says; {_INSTALL}"
        raise RejectedRecording("decode", "unknown_length", detail)


def _is_mpeg(sound: soundfile.SoundFile) -> bool:
    return str(sound.subtype).startswith("MPEG_LAYER")


def _is_estimate(sound: soundfile.SoundFile) -> bool:
    """Whether the length is a guess by the first bit rate: of an MP3 without a Xing header."""
    return _is_mpeg(sound) and "bitrate mode   : variable" not in sound.extra_info


def _check_mpeg(file: BinaryIO, n_frames: int, rate_hz: int) -> None:
    """Compare with the frames that are there: libsndfile stops at the length that it expects."""
    stream = mpeg.walk(file)
    read_s = (n_frames + mpeg.DELAY) / rate_hz
    if len(stream.kinds) > 1:
        detail = f"rate or channels change within the MPEG audio; {_INSTALL}"
        raise RejectedRecording("decode", "unknown_length", detail)
    if read_s < stream.seconds:
        detail = (
            f"the file has MPEG audio of {stream.seconds:.3f} s, libsndfile reads "
            f"{n_frames / rate_hz:.3f} s; {_INSTALL}"
        )
        raise RejectedRecording("decode", "unknown_length", detail)


def _flac_goes_on(file: BinaryIO) -> bool:
    """Whether frames follow the position at which libsndfile stopped."""
    position = file.tell()
    info = flac.stream_info(file)
    if info is None or not info.n_frames:
        return False
    file.seek(max(1, position - _READ_AHEAD_BYTES))
    return flac.goes_on(file.read(_LOOK_AHEAD_BYTES), info)


def _refusal(
    error: soundfile.SoundFileError, head: bytes, extent: Extent | None
) -> RejectedRecording:
    """Say why libsndfile does not open a file: what it is, or that it is corrupt."""
    text = _text(error)
    names = [name for name, beginning in _OTHER_FORMATS.items() if beginning.match(head)]
    if extent is not None and extent.codec:
        names.append(extent.codec)
    if names and (extent is not None or _is_unknown(error)):
        detail = f"libsndfile does not support {names[0]}; {_INSTALL}"
        return RejectedRecording("decode", "unsupported_codec", detail)
    if _is_unknown(error):
        return RejectedRecording("decode", "not_audio", text)
    return _with_reason(text)


def _failure(error: soundfile.SoundFileError, n_frames: int, promised: int) -> RejectedRecording:
    """Say why libsndfile stops within a file, and where."""
    of = f" of {promised}" if promised < _NO_LENGTH else ""
    return _with_reason(f"{_text(error)} (after {n_frames}{of} frames)")


def _with_reason(text: str) -> RejectedRecording:
    reasons = [reason for words, reason in _REASONS.items() if words in text]
    return RejectedRecording("decode", reasons[0] if reasons else "undecodable", text)


def _is_unknown(error: soundfile.SoundFileError) -> bool:
    """Whether it is no format of libsndfile (SF_ERR_UNRECOGNISED_FORMAT in sndfile.h)."""
    return bool(getattr(error, "code", 0) == 1)


def _text(error: soundfile.SoundFileError) -> str:
    return str(getattr(error, "error_string", error))
