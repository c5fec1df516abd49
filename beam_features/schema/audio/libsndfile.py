"""Decoding: an open file in, blocks of samples out; all that knows of codecs.

libsndfile decodes what it knows. Where it does not know a file, ffmpeg may: see the module
`ffmpeg` beside this one.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

from beam_features.schema.audio.rejection import RejectedRecording

_BLOCK_VALUES = 1 << 19  # over all channels: 2 MiB, which bounds the memory and fits the cache
_MP3_BLOCK_VALUES = 1 << 12  # so few that where the file stands tells what was decoded
_UNREAD_BYTES = 1 << 13  # more than such a block or a tag at the end of the file
_LOOK_AHEAD_BYTES = 1 << 24  # over the tags and the picture between two files
_RATES_HZ = range(1_000, 1_000_001)  # outside of these a header is wrong, and resampling explodes
_NO_LENGTH = 1 << 62  # what libsndfile tells of a FLAC from a pipe is more
_CHUNKS = "data|SSND|Data Size|riff|Riff size"  # of WAV, AIFF, AU, W64 and RF64, as libsndfile logs
_OTHER_FORMATS = {  # how files begin that are audio, but not for libsndfile
    "MPEG-4": rb".{4}ftyp",
    "AAC": rb"\xff[\xf0\xf1\xf8\xf9]",
    "ASF (WMA)": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "Matroska (WebM)": rb"\x1aE\xdf\xa3",
    "WavPack": rb"wvpk",
    "Monkey's Audio": rb"MAC ",
}
_REASONS = {"lost sync": "truncated", "unimplemented format": "unsupported_codec"}

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Audio:
    """A recording that is being decoded: its rate, and blocks of samples ``[n, n_channels]``."""

    sample_rate_hz: int
    blocks: Iterator[Float32]


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Decode by libsndfile. Opening, or any block, may raise.

    Raises:
        RejectedRecording: the file is empty, not audio, of a codec that libsndfile does not know,
            damaged, or truncated.
    """
    head = file.read(16)
    if not head:
        raise RejectedRecording("decode", "empty", "the file has 0 bytes")
    file.seek(0)
    try:
        sound = _Forward(file)
    except soundfile.LibsndfileError as error:
        raise _rejection(error, head) from error
    with sound:
        if missing := _missing_end(sound.extra_info):
            raise RejectedRecording("decode", "truncated", missing)
        yield Audio(check_rate(sound.samplerate), _read_blocks(sound, file, head))


def check_rate(sample_rate_hz: int) -> int:
    """Give the rate back, or reject the recording if no microphone has it."""
    if sample_rate_hz not in _RATES_HZ:
        detail = f"the header says {sample_rate_hz} Hz, {_RATES_HZ[0]} to {_RATES_HZ[-1]} are read"
        raise RejectedRecording("decode", "sample_rate", detail)
    return sample_rate_hz


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from front to end.

    soundfile seeks after every read of a seekable file, in which libsndfile fails at the end of a
    FLAC that does not say how long it is, such as one from a pipe.
    """

    def seekable(self) -> bool:
        return False


def _read_blocks(sound: soundfile.SoundFile, file: BinaryIO, head: bytes) -> Iterator[Float32]:
    """Read to the end, and see whether it is the end that the header promised."""
    is_mp3 = sound.subtype == "MPEG_LAYER_III"
    # Without a Xing header libsndfile estimates the length of an MP3, from its first bit rate.
    is_estimate = is_mp3 and "bitrate mode   : variable" not in sound.extra_info
    block_values = _MP3_BLOCK_VALUES if is_mp3 else _BLOCK_VALUES
    frames_per_block = max(1, block_values // sound.channels)
    n_frames = 0
    try:
        while len(block := sound.read(frames_per_block, dtype="float32", always_2d=True)):
            n_frames += len(block)
            yield block
    except soundfile.LibsndfileError as error:
        raise _rejection(error, head) from error
    if is_estimate:
        _check_all_was_read(sound, file, n_frames)
    elif is_mp3 and _another_mp3_follows(file):
        detail = "several MP3 files one after the other; with ffmpeg installed they are read"
        raise RejectedRecording("decode", "unknown_length", detail)
    elif n_frames < sound.frames < _NO_LENGTH:
        detail = f"the header promises {sound.frames} frames, {n_frames} are there"
        raise RejectedRecording("decode", "truncated", detail)


def _another_mp3_follows(file: BinaryIO) -> bool:
    """Whether a further Xing header comes behind where libsndfile has stopped."""
    rest = file.read(_LOOK_AHEAD_BYTES)
    return b"Xing\0\0\0" in rest or b"Info\0\0\0" in rest


def _check_all_was_read(sound: soundfile.SoundFile, file: BinaryIO, n_frames: int) -> None:
    """Reject where libsndfile stops at its estimate though the file goes on."""
    position, size = file.tell(), file.seek(0, 2)
    if n_frames == sound.frames and size - position > _UNREAD_BYTES:
        detail = (
            f"MP3 of variable bit rate without a Xing header: libsndfile reads {position} of "
            f"{size} bytes; with ffmpeg installed it is read whole"
        )
        raise RejectedRecording("decode", "unknown_length", detail)


def _rejection(error: soundfile.LibsndfileError, head: bytes) -> RejectedRecording:
    """Tell damage from what is no audio (codes: SFE_* in libsndfile's common.h)."""
    if error.code == 1:  # SF_ERR_UNRECOGNISED_FORMAT
        for name, beginning in _OTHER_FORMATS.items():
            if re.match(beginning, head, re.DOTALL):
                detail = f"{name} is not for libsndfile; with ffmpeg installed it is read"
                return RejectedRecording("decode", "unsupported_codec", detail)
        return RejectedRecording("decode", "not_audio", error.error_string)
    for words, reason in _REASONS.items():
        if words in error.error_string:
            return RejectedRecording("decode", reason, error.error_string)
    return RejectedRecording("decode", "undecodable", error.error_string)


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
