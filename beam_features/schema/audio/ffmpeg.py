"""The fallback decoder: the ``ffmpeg`` program, or that of the package imageio-ffmpeg."""

import itertools
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import numpy as np

from beam_features.schema.audio import mpeg
from beam_features.schema.audio.files import Audio, Float32, RejectedRecording, check_rate
from beam_features.schema.audio.promise import (
    Promise,
    behind_tags,
    check_length,
    read_promise,
    view_of_audio,
)
from dem.errors import JobError

_BLOCK_VALUES = 1 << 19  # over all channels
_AU_HEADER = struct.Struct(">4s5I")  # magic, offset of the data, its size, encoding, rate, channels
# No playlists: a malicious file must not make ffmpeg open others.
_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,caf,dts,eac3,flac,matroska,mov,mp3,mpegvideo,nistsphere,ogg,tta,"
    "voc,w64,wav,webm,wv"
)
_CUT_OFF = ("partial file", "moov atom not found", "Truncat", "truncat", "ended prematurely")
# Streams that follow one another begin at time 0 again; the samples are all there.
_NO_DAMAGE = ("non monotonically increasing dts", "failed to create or replace stream")
# Of MP3, it takes a tag between two files for a frame; `mpeg` knows what is none.
_NO_DAMAGE_IN_MP3 = ("Header missing", "Error submitting packet to decoder: Invalid data")
_LONGEST_DELAY = 2112  # frames that a codec adds, which the length in a header may count
_ERROR = re.compile(r"(?:\[[^]]*\] )*?\[(?:error|fatal|panic)\] (.+)")
_MOST_ERRORS = 100
_ROUNDING_S = 0.02  # of the length that ffmpeg prints


def find_program() -> str | None:
    """Find the ``ffmpeg`` on the path, else that of imageio-ffmpeg, if it is installed."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def is_installed() -> bool:
    """Whether there is an ffmpeg."""
    return find_program() is not None


@contextmanager
def open_audio(file: BinaryIO) -> Iterator[Audio]:
    """Decode the first audio stream with ffmpeg. Opening, or any block, may raise.

    The file is first copied to an unnamed temporary file, because ffmpeg has to seek in some
    formats and does not support object storage.

    Raises:
        RejectedRecording: ffmpeg finds no audio, reports an error, or returns less than the file
            says it has.
        JobError: ffmpeg cannot be started.
    """
    with ExitStack() as stack:
        copy, log = _copied(behind_tags(file), stack), stack.enter_context(tempfile.TemporaryFile())
        said = read_promise(copy)
        if (view := view_of_audio(copy, said)) is not copy:
            copy = _copied(view, stack)
        process = _start(copy.fileno(), log)
        stack.callback(_stop, process)
        assert process.stdout is not None
        header = process.stdout.read(_AU_HEADER.size)
        if len(header) < _AU_HEADER.size:
            process.wait()
            raise _rejection(_Log.of(log), "not_audio")
        _, offset, _, _, rate_hz, n_channels = _AU_HEADER.unpack(header)
        process.stdout.read(offset - _AU_HEADER.size)  # the annotation
        blocks = _read_blocks(process.stdout, n_channels)
        yield Audio(check_rate(rate_hz), _checked(blocks, rate_hz, said, process, log, copy))


def _copied(file: BinaryIO, stack: ExitStack) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
    stack.enter_context(copy)
    file.seek(0)
    shutil.copyfileobj(file, copy)
    copy.flush()
    return cast(BinaryIO, copy)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def _start(descriptor: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start ffmpeg, which writes float32 after an AU header with the rate and the channels."""
    program = find_program() or "ffmpeg"
    # Without it, ffmpeg decodes what does not fit its checksum.
    source = [
        "-err_detect",
        "crccheck",
        "-protocol_whitelist",
        "file",
        "-format_whitelist",
        _CONTAINERS,
    ]
    # Where files were joined, timestamps begin again, which the writer would report as errors.
    target = ["-map", "0:a:0", "-af", "asetpts=N/SR/TB", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-v", "level+info"]
    try:
        return subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            [program, *quiet, *source, "-i", f"/dev/fd/{descriptor}", *target],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=[descriptor],
        )
    except OSError as error:
        raise JobError(f"cannot run {program}: {error.strerror or error}") from error


def _read_blocks(output: IO[bytes], n_channels: int) -> Iterator[Float32]:
    n_bytes = max(1, _BLOCK_VALUES // n_channels) * n_channels * 4
    while data := output.read(n_bytes):
        whole = len(data) - len(data) % (4 * n_channels)
        samples = np.frombuffer(data[:whole], ">f4").astype(np.float32)
        yield samples.reshape(-1, n_channels)


def _checked(
    blocks: Iterator[Float32],
    rate_hz: int,
    said: Promise,
    process: subprocess.Popen[bytes],
    log_file: IO[bytes],
    copy: BinaryIO,
) -> Iterator[Float32]:
    """Yield the blocks, then compare their length with what the file says."""
    n_frames = 0
    for block in blocks:
        n_frames += len(block)
        yield block
    code = process.wait()
    log = _Log.of(log_file)
    stream = mpeg.walk(copy) if log.container == "mp3" else None
    seconds = stream.said_s if stream else said.seconds
    if code or log.errors:
        read = f"; it reads {n_frames / rate_hz:.2f} of {max(seconds, log.duration_s):.2f} s"
        raise _rejection(log, "undecodable", read if seconds or log.duration_s else "")
    check_length(seconds, n_frames, rate_hz, "ffmpeg", mpeg.GAPLESS_DELAY if stream else 1)
    if stream:
        check_length(stream.seconds, n_frames, rate_hz, "ffmpeg", mpeg.DELAY)
    check_length(log.duration_s - _ROUNDING_S, n_frames, rate_hz, "ffmpeg", _LONGEST_DELAY)


@dataclass(frozen=True)
class _Log:
    """What ffmpeg printed: its errors, the container, how long that says the audio is, or 0."""

    errors: list[str]
    container: str
    duration_s: float

    @classmethod
    def of(cls, file: IO[bytes]) -> "_Log":
        """Read what was printed; a corrupt file gives a line per packet."""
        file.seek(0)
        lines = (line.decode(errors="replace") for line in file)
        head = "".join(itertools.takewhile(lambda line: "Stream mapping:" not in line, lines))
        names = re.findall(r"^\[info\] Input #0, ([^,]+),", head, re.MULTILINE)
        container = names[0] if names else ""
        harmless = (*_NO_DAMAGE, *(_NO_DAMAGE_IN_MP3 if container == "mp3" else ()))
        found = (_ERROR.match(line) for line in itertools.chain(head.splitlines(), lines))
        errors = (error[1] for error in found if error)
        serious = (error for error in errors if not any(words in error for words in harmless))
        return cls(list(itertools.islice(serious, _MOST_ERRORS)), container, _duration_s(head))


def _duration_s(text: str) -> float:
    """Find the length of the container, if it is not estimated and that of the audio alone."""
    kinds = re.findall(r"^\[info\]   Stream #0:\d+.*?: (\w+): (.*)$", text, re.MULTILINE)
    others = [kind for kind, rest in kinds if kind != "Data" and "attached pic" not in rest]
    duration = re.search(r"^\[info\]   Duration: (\d+):(\d+):([\d.]+)", text, re.MULTILINE)
    if duration is None or others != ["Audio"] or "Estimating duration" in text:
        return 0.0
    hours, minutes, seconds = duration.groups()
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _rejection(log: _Log, reason: str, numbers: str = "") -> RejectedRecording:
    message = log.errors[0].strip() if log.errors else "it returned no samples"
    if any(word in error for error in log.errors for word in _CUT_OFF):
        reason = "truncated"
    if any("matches no streams" in error for error in log.errors):
        message = "there is no audio stream"
    # Addresses and descriptors differ from run to run.
    first_line = re.sub(r" @ 0x[0-9a-f]+|/dev/fd/\d+", "", message)
    return RejectedRecording("decode", reason, f"ffmpeg: {first_line[:300]}{numbers}")
