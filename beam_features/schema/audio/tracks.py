"""How long the first audio track of an MPEG-4 file is, by the boxes of its header."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from beam_features.schema.audio.files import BrokenFile

_ROUNDING_S = 0.05  # of times in units of the movie, which may be 1/20 s
_LONGEST_LIST = 1 << 20  # bytes of an edit list
_MOST_BOXES = 10_000
_UNKNOWN = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Box:
    """A box: its name, and the positions of its content."""

    name: bytes
    start: int
    end: int


def seconds(file: BinaryIO) -> float:
    """Say how long the first audio track is at least, 0 if that is not known.

    An edit list is obeyed: it says which part of the track is to be heard.

    Raises:
        BrokenFile: the edit list is shorter than the track that it is of.
    """
    n_bytes = file.seek(0, 2)
    for movie in _children(file, Box(b"", 0, n_bytes), b"moov"):
        unit_s = _unit_s(file, movie, b"mvhd")
        for track in _children(file, movie, b"trak"):
            for media in _children(file, track, b"mdia"):
                if any(
                    _read(file, one)[8:12] == b"soun" for one in _children(file, media, b"hdlr")
                ):
                    return _of_track(file, track, media, unit_s)
    return 0.0


def _of_track(file: BinaryIO, track: Box, media: Box, unit_s: float) -> float:
    track_s = unit_s * _duration(file, track, b"tkhd", 8)
    media_s = _unit_s(file, media, b"mdhd") * _duration(file, media, b"mdhd", 4)
    edits = [
        edit
        for edit_box in _children(file, track, b"edts")
        for list_box in _children(file, edit_box, b"elst")
        for edit in _edits(_read(file, list_box, _LONGEST_LIST))
    ]
    if not track_s or not media_s:
        return 0.0
    if not edits:
        return min(track_s, media_s)
    listed_s = unit_s * sum(duration for duration, _ in edits)
    heard_s = unit_s * sum(duration for duration, start in edits if start >= 0)
    if listed_s + _ROUNDING_S < min(track_s, media_s):
        detail = f"the track says {track_s:.3f} s, its edit list {listed_s:.3f} s"
        raise BrokenFile("truncated", detail)
    return max(0.0, min(heard_s, media_s) - _ROUNDING_S)


def _children(file: BinaryIO, parent: Box, name: bytes) -> Iterator[Box]:
    """Walk the boxes of a name within a box."""
    position = parent.start
    for _ in range(_MOST_BOXES):
        if position + 8 > parent.end:
            return
        file.seek(position)
        header = file.read(16)
        size, start = int.from_bytes(header[:4], "big"), position + 8
        if size == 1:
            size, start = int.from_bytes(header[8:], "big"), position + 16
        end = position + size if size else parent.end
        if not start <= end <= parent.end:
            return
        if header[4:8] == name:
            yield Box(name, start, end)
        position = end


def _read(file: BinaryIO, box: Box, n_bytes: int = 64) -> bytes:
    file.seek(box.start)
    return file.read(min(n_bytes, box.end - box.start)).ljust(36, b"\0")


def _unit_s(file: BinaryIO, parent: Box, name: bytes) -> float:
    """Read the unit of time in a header of a movie or of its media."""
    for box in _children(file, parent, name):
        data = _read(file, box)
        at = 20 if data[0] == 1 else 12
        per_second = int.from_bytes(data[at : at + 4], "big")
        return 1 / per_second if per_second else 0.0
    return 0.0


def _duration(file: BinaryIO, parent: Box, name: bytes, gap: int) -> int:
    """Read the duration in a header, `gap` bytes behind the two dates."""
    for box in _children(file, parent, name):
        data = _read(file, box)
        width = 8 if data[0] == 1 else 4
        at = 4 + 2 * width + gap
        duration = int.from_bytes(data[at : at + width], "big")
        return 0 if duration in _UNKNOWN else duration
    return 0


def _edits(data: bytes) -> list[tuple[int, int]]:
    """Parse an edit list: durations in units of the movie, and starts, -1 for a pause."""
    form = struct.Struct(">Qq4x" if data[0] == 1 else ">Ii4x")
    count = min(int.from_bytes(data[4:8], "big"), (len(data) - 8) // form.size)
    return [form.unpack_from(data, 8 + index * form.size) for index in range(count)]
