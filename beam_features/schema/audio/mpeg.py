"""The frames of MPEG audio (MP3, MP2): how many there are, and whether one follows another."""

import functools
import re
from dataclasses import dataclass
from typing import BinaryIO

from beam_features.schema.audio.files import BrokenFile
from beam_features.schema.audio.tags import (
    end_of_audio,
    length_of_tag,
    start_of_audio,
    without_tags,
)

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_HEADER = re.compile(b"Xing|Info|VBRI")
GAPLESS_DELAY = 530  # by which decoders differ where a header says what to leave out
DELAY = 1200  # samples that a decoder may leave out at the beginning
_FRAMES_IN_A_ROW = 4  # fewer may be chance, in a picture
_BLOCK_BYTES = 1 << 20
_LONGEST_FRAME = 1 << 13
_LOOK_AHEAD_BYTES = 1 << 24
_KBIT_S = {  # by (version 1, layer); version 2 and 2.5 share a table
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


@dataclass(frozen=True)
class Frame:
    """What the header of a frame says."""

    n_bytes: int
    samples: int
    rate_hz: int
    n_channels: int


@dataclass(frozen=True)
class Stream:
    """All frames of a file."""

    seconds: float
    said_s: float  # by the header of the first frame, 0 if there is none
    kinds: frozenset[tuple[int, int]]  # rates and numbers of channels


def walk(file: BinaryIO) -> Stream:
    """Walk all frames of a file.

    Raises:
        BrokenFile: the last frame is cut, or bytes between two are no frame.
    """
    n_bytes, position = end_of_audio(file), _first_frame(file)
    file.seek(position)
    silent_s, said_s = _header_of(file.read(_LONGEST_FRAME))
    seconds, kinds = -silent_s, set()
    block, begin = b"", 0
    while position < n_bytes:
        if position - begin + _LONGEST_FRAME > len(block) and begin + len(block) < n_bytes:
            file.seek(position)
            block, begin = file.read(_BLOCK_BYTES), position
        at = position - begin
        frame = parse(block[at : at + 4])
        if frame is not None and frame.n_bytes <= n_bytes - position:
            seconds += frame.samples / frame.rate_hz
            kinds.add((frame.rate_hz, frame.n_channels))
            position += frame.n_bytes
        elif length := length_of_tag(block[at : at + 32]):
            position += length
        else:
            _check_rest(file, position)
            break
    return Stream(seconds, said_s, frozenset(kinds))


def _header_of(data: bytes) -> tuple[float, float]:
    """Read a first frame that is a header: seconds of no sound, and the seconds it says.

    LAME writes how many samples the encoder added at both ends, 12 bits each.
    """
    frame = parse(data[:4])
    found = _HEADER.search(data[: min(64, frame.n_bytes)]) if frame else None
    if frame is None or found is None:
        return 0.0, 0.0
    if found[0] == b"VBRI":
        n_frames = int.from_bytes(data[found.start() + 14 : found.start() + 18], "big")
        return frame.samples / frame.rate_hz, n_frames * frame.samples / frame.rate_hz
    flags, at = data[found.end() + 3], found.end() + 4
    n_frames = int.from_bytes(data[at : at + 4], "big") if flags & 1 else 0
    at += sum(n_bytes for bit, n_bytes in enumerate((4, 4, 100, 4)) if flags >> bit & 1)
    both = int.from_bytes(data[at + 21 : at + 24], "big")
    added = (both >> 12) + (both & 0xFFF)
    said = max(0, n_frames * frame.samples - added)
    return (frame.samples + added) / frame.rate_hz, said / frame.rate_hz


def _first_frame(file: BinaryIO) -> int:
    """Find the first frame behind the tags and what a cut left of another frame."""
    start = start_of_audio(file)
    file.seek(start)
    data = file.read(_BLOCK_BYTES)
    rows = (found.start() for found in _SYNC.finditer(data) if _is_row(data, found.start()))
    return start + next(rows, len(data))


def _check_rest(file: BinaryIO, position: int) -> None:
    """Reject a file that has a part of a frame, or more frames, behind the last."""
    file.seek(position)
    rest = without_tags(file.read(_LOOK_AHEAD_BYTES))
    frame = parse(rest[:4])
    if frame is not None:
        detail = f"the MPEG frame at byte {position} has {len(rest)} of {frame.n_bytes} bytes"
        raise BrokenFile("truncated", detail)
    if any(_is_row(rest, found.start()) for found in _SYNC.finditer(rest)):
        detail = f"no MPEG frame at byte {position}, but others follow"
        raise BrokenFile("undecodable", detail)


def _is_row(data: bytes, position: int) -> bool:
    """Whether several frames follow one another, or fill the data."""
    for _ in range(_FRAMES_IN_A_ROW):
        frame = parse(data[position : position + 4])
        if frame is None:
            return False
        position += frame.n_bytes
        if position == len(data):
            return True
    return True


def parse(header: bytes) -> Frame | None:
    """Parse the header of a frame, 4 bytes; None if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    return _parse(header[1], header[2], header[3] >> 6)


@functools.cache
def _parse(second: int, third: int, mode: int) -> Frame | None:
    version, layer = second >> 3 & 3, 4 - (second >> 1 & 3)
    rate, bits, padding = third >> 2 & 3, third >> 4, third >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bits in (0, 15):
        return None
    bit_s, rate_hz = 1000 * _KBIT_S[version == 3, layer][bits - 1], _RATES_HZ[version][rate]
    if layer == 1:
        samples, n_bytes = 384, (12 * bit_s // rate_hz + padding) * 4
    else:
        samples = 576 if layer == 3 and version != 3 else 1152
        n_bytes = samples // 8 * bit_s // rate_hz + padding
    return Frame(n_bytes, samples, rate_hz, 1 if mode == 3 else 2)
