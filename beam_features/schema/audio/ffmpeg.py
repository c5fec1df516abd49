"""The fallback decoder: the ``ffmpeg`` program, where it is installed."""

import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

import numpy as np

from beam_features.schema.audio.libsndfile import Audio, Float32, check_rate
from beam_features.schema.audio.rejection import RejectedRecording

_FRAMES_PER_BLOCK = 1 << 18
_AU_HEADER = struct.Struct(">4s5I")  # magic, offset of the data, its size, encoding, rate, channels
# No playlists: a hostile file must not make ffmpeg open others.
_CONTAINERS = "aac,ac3,aiff,ape,asf,au,caf,flac,matroska,webm,mov,mp3,ogg,tta,w64,wav,wv"
_CUT_OFF = ("partial file", "moov atom not found", "Truncat", "truncat")


def is_installed() -> bool:
    """Whether there is an ``ffmpeg`` on the path."""
    return shutil.which("ffmpeg") is not None


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Decode the first audio stream by ffmpeg. Opening, or any block, may raise.

    The file is copied to an unnamed temporary one first, since ffmpeg has to seek in some formats
    and knows no object storage.

    Raises:
        RejectedRecording: ffmpeg finds no audio, or complains of anything.
    """
    with tempfile.TemporaryFile() as copy, tempfile.TemporaryFile() as complaints:
        file.seek(0)
        shutil.copyfileobj(file, copy)
        copy.flush()
        process = subprocess.Popen(  # noqa: S603 - words of ours, no shell
            _command(copy.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            pass_fds=[copy.fileno()],
        )
        assert process.stdout is not None
        try:
            header = process.stdout.read(_AU_HEADER.size)
            if len(header) < _AU_HEADER.size:
                process.wait()
                raise _rejection(complaints, "not_audio")
            _, offset, _, _, rate_hz, n_channels = _AU_HEADER.unpack(header)
            process.stdout.read(offset - _AU_HEADER.size)  # the annotation
            yield Audio(check_rate(rate_hz), _read_blocks(process, n_channels, complaints))
        finally:
            process.kill()
            process.communicate()


def _command(descriptor: int) -> list[str]:
    """Read the descriptor, write AU: float32 after a header that tells rate and channels."""
    source = ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS]
    target = ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    return ["ffmpeg", "-nostdin", "-v", "error", *source, "-i", f"/dev/fd/{descriptor}", *target]


def _read_blocks(
    process: subprocess.Popen[bytes], n_channels: int, complaints: IO[bytes]
) -> Iterator[Float32]:
    assert process.stdout is not None
    n_bytes = _FRAMES_PER_BLOCK * n_channels * 4
    while data := process.stdout.read(n_bytes):
        whole = len(data) - len(data) % (4 * n_channels)
        samples = np.frombuffer(data[:whole], ">f4").astype(np.float32)
        yield samples.reshape(-1, n_channels)
    if process.wait() or complaints.tell():
        raise _rejection(complaints, "undecodable")


def _rejection(complaints: IO[bytes], reason: str) -> RejectedRecording:
    complaints.seek(0)
    said = complaints.read().decode(errors="replace").strip() or "it gave no samples"
    if any(word in said for word in _CUT_OFF):
        reason = "truncated"
    if "matches no streams" in said:
        said = "there is no audio stream"
    first_line = re.sub(r" @ 0x[0-9a-f]+|/dev/fd/\d+", "", said.splitlines()[0])  # differ by run
    return RejectedRecording("decode", reason, f"ffmpeg: {first_line[:300]}")
