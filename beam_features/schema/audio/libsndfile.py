"""The first decoder: libsndfile. Formats that it does not support are left to `ffmpeg`."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import soundfile

from beam_features.schema.audio.files import Audio, Float32, RejectedRecording, check_rate

_BLOCK_VALUES = 1 << 19  # over all channels: 2 MiB, which bounds the memory and fits the cache
_MP3_BLOCK_VALUES = 1 << 12  # so few that the file position shows how much was decoded
_UNREAD_BYTES = 1 << 13  # more than such a block or a tag at the end of the file
_LOOK_AHEAD_BYTES = 1 << 24  # covers the tags and the picture between two files
_NO_LENGTH = 1 << 62  # libsndfile reports more for a FLAC that was written to a pipe
_CHUNKS = "data|SSND|Data Size|riff|Riff size"  # of WAV, AIFF, AU, W64 and RF64, as libsndfile logs
_OTHER_FORMATS = {  # first bytes of audio formats that libsndfile does not support
    "MPEG-4": rb".{4}ftyp",
    "AAC": rb"\xff[\xf0\xf1\xf8\xf9]",
    "ASF (WMA)": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    "Matroska (WebM)": rb"\x1aE\xdf\xa3",
    "WavPack": rb"wvpk",
    "Monkey's Audio": rb"MAC ",
}
_REASONS = {"lost sync": "truncated", "unimplemented format": "unsupported_codec"}


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Decode with libsndfile. Opening, or any block, may raise.

    Raises:
        RejectedRecording: the file is empty, not audio, of a codec that libsndfile does not
            support, corrupt, or truncated.
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


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from start to end.

    soundfile seeks after every read of a seekable file. libsndfile fails to do so at the end of a
    FLAC whose header gives no length, such as one that was written to a pipe.
    """

    def seekable(self) -> bool:
        return False


def _read_blocks(sound: soundfile.SoundFile, file: BinaryIO, head: bytes) -> Iterator[Float32]:
    """Read to the end, then check that it is where the header says."""
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
        detail = "several concatenated MP3 files; install ffmpeg to read them"
        raise RejectedRecording("decode", "unknown_length", detail)
    elif n_frames < sound.frames < _NO_LENGTH:
        detail = f"the header says {sound.frames} frames, the file holds {n_frames}"
        raise RejectedRecording("decode", "truncated", detail)


def _another_mp3_follows(file: BinaryIO) -> bool:
    """Whether another Xing header follows the position at which libsndfile stopped."""
    rest = file.read(_LOOK_AHEAD_BYTES)
    return b"Xing\0\0\0" in rest or b"Info\0\0\0" in rest


def _check_all_was_read(sound: soundfile.SoundFile, file: BinaryIO, n_frames: int) -> None:
    """Reject a file in which libsndfile stops at its estimate although more bytes follow."""
    position, size = file.tell(), file.seek(0, 2)
    if n_frames == sound.frames and size - position > _UNREAD_BYTES:
        detail = (
            f"MP3 of variable bit rate without a Xing header: libsndfile reads {position} of "
            f"{size} bytes; install ffmpeg to read all of it"
        )
        raise RejectedRecording("decode", "unknown_length", detail)


def _rejection(error: soundfile.LibsndfileError, head: bytes) -> RejectedRecording:
    """Distinguish corrupt audio from other files (codes: SFE_* in libsndfile's common.h)."""
    if error.code == 1:  # SF_ERR_UNRECOGNISED_FORMAT
        for name, beginning in _OTHER_FORMATS.items():
            if re.match(beginning, head, re.DOTALL):
                detail = f"libsndfile does not support {name}; install ffmpeg to read it"
                return RejectedRecording("decode", "unsupported_codec", detail)
        return RejectedRecording("decode", "not_audio", error.error_string)
    for words, reason in _REASONS.items():
        if words in error.error_string:
            return RejectedRecording("decode", reason, error.error_string)
    return RejectedRecording("decode", "undecodable", error.error_string)


def _missing_end(log: str) -> str | None:
    """Find in libsndfile's parser log that the end of the file is missing.

    libsndfile itself reports no error when the data chunk of a WAV, W64, RF64, AIFF or AU file
    should be longer than the file, or when the last Ogg page is cut or not marked as the last.
    Sizes from 0x7FFFFFFF up are written by programs that stream to a pipe and cannot go back to
    fill in the size: they are no sign of corruption.
    """
    if "lacks an end-of-stream bit" in log or "Junk after the last page" in log:
        return "the last Ogg page is not the end of the stream"
    for chunk, size, there in re.findall(rf"({_CHUNKS}) *: *(\d+) \(should be (\d+)\)", log):
        if int(there) < int(size) < 0x7FFFFFFF:
            return f"the {chunk} chunk should have {size} bytes, the file holds {there}"
    return None
