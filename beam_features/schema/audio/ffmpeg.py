"""The fallback decoder: the ``ffmpeg`` program, if it is installed."""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

import numpy as np

from beam_features.schema.audio.files import Audio, Float32, RejectedRecording, check_rate

_FRAMES_PER_BLOCK = 1 << 18
_AU_HEADER = struct.Struct(">4s5I")  # magic, offset of the data, its size, encoding, rate, channels
# No playlists: a malicious file must not make ffmpeg open others.
_CONTAINERS = "aac,ac3,aiff,ape,asf,au,caf,flac,matroska,webm,mov,mp3,ogg,tta,w64,wav,wv"
_CUT_OFF = ("partial file", "moov atom not found", "Truncat", "truncat")


def is_installed() -> bool:
    """Whether there is an ``ffmpeg`` on the path."""
    return shutil.which("ffmpeg") is not None


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Decode the first audio stream with ffmpeg. Opening, or any block, may raise.

    The file is first copied to an unnamed temporary file, because ffmpeg has to seek in some
    formats and does not support object storage.

    Raises:
        RejectedRecording: ffmpeg finds no audio, or prints any error.
    """
    with tempfile.TemporaryFile() as copy, tempfile.TemporaryFile() as errors:
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        process = subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            _command(copy.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            pass_fds=[copy.fileno()],
        )
        assert process.stdout is not None
        try:
            header = process.stdout.read(_AU_HEADER.size)
            if len(header) < _AU_HEADER.size:
                process.wait()
                raise _rejection(errors, "not_audio")
            _, offset, _, _, rate_hz, n_channels = _AU_HEADER.unpack(header)
            process.stdout.read(offset - _AU_HEADER.size)  # the annotation
            yield Audio(check_rate(rate_hz), _read_blocks(process, n_channels, errors))
        finally:
            process.kill()
            process.communicate()


def _command(descriptor: int) -> list[str]:
    """Read the descriptor, write AU: float32 after a header with the rate and the channels."""
    source = ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS]
    target = ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    return ["ffmpeg", "-nostdin", "-v", "error", *source, "-i", f"/dev/fd/{descriptor}", *target]


def _read_blocks(
    process: subprocess.Popen[bytes], n_channels: int, errors: IO[bytes]
) -> Iterator[Float32]:
    assert process.stdout is not None
    n_bytes = _FRAMES_PER_BLOCK * n_channels * 4
    while data := process.stdout.read(n_bytes):
        whole = len(data) - len(data) % (4 * n_channels)
        samples = np.frombuffer(data[:whole], ">f4").astype(np.float32)
        yield samples.reshape(-1, n_channels)
    if process.wait() or errors.tell():
        raise _rejection(errors, "undecodable")


def _rejection(errors: IO[bytes], reason: str) -> RejectedRecording:
    errors.seek(0)
    message = errors.read().decode(errors="replace").strip() or "it returned no samples"
    if any(word in message for word in _CUT_OFF):
        reason = "truncated"
    if "matches no streams" in message:
        message = "there is no audio stream"
    # Addresses and descriptors differ from run to run.
    first_line = re.sub(r" @ 0x[0-9a-f]+|/dev/fd/\d+", "", message.splitlines()[0])
    return RejectedRecording("decode", reason, f"ffmpeg: {first_line[:300]}")
