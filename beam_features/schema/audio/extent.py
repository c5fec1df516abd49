"""The bytes of audio in a file: what its header promises, what there is, and how to mend the size.

The readers of headers are in `chunks` and `headers`. They use no decoder, so that a decoder that
stops early is found out.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, cast

from beam_features.schema.audio.files import BrokenFile

_PLACEHOLDER_SPAN = 4096  # writers of pipes take a header or an unfinished frame off the maximum
_MAXIMA = (1 << 31, 1 << 32)
_LONGEST_HEAD = 1 << 24  # bytes before the audio that are held in memory


@dataclass(frozen=True)
class SizeField:
    """Where a header says how many bytes of audio follow."""

    position: int
    form: str  # of `struct`
    extra: int = 0  # bytes that the size counts and that are not audio


@dataclass(frozen=True)
class Extent:
    """The audio of a file, in bytes."""

    start: int
    said: int  # what the header promises
    held: int  # what is there: up to a chunk that follows, or to the end of the file
    frame_bytes: int = 0  # of one sample of all channels; 0 if it is compressed
    rate_hz: float = 0.0
    frames_said: int = 0  # by a second count in the header, 0 if it has none
    field: SizeField | None = None
    codec: str = ""  # its name, if libsndfile is not known to decode it
    parts: int = 1  # blocks of audio in the file
    stop: int | None = None  # position behind which nothing is of use
    is_mended: bool = False  # the header has another size, such as 0 in an unfinished file

    @property
    def frames(self) -> int | None:
        """Frames that the header promises, if the audio is not compressed."""
        return self.said // self.frame_bytes if self.frame_bytes else None

    @property
    def seconds(self) -> float:
        """How long the header says the audio is, 0 if it does not."""
        frames = self.frames if self.frames is not None else self.frames_said
        return frames / self.rate_hz if self.rate_hz else 0.0


def is_placeholder(size: int) -> bool:
    """Whether a size is what programs write that cannot go back to fill it in."""
    near = any(top - _PLACEHOLDER_SPAN <= size < top + _PLACEHOLDER_SPAN for top in _MAXIMA)
    return near or size >= 1 << 62


def measured(extent: Extent, n_bytes: int, follows: Callable[[int], bool]) -> Extent:
    """Fill in what is there, and the true size where the header has only part of it.

    Args:
        extent: with the size as the header says.
        n_bytes: of the file.
        follows: whether nothing but chunks and tags follow a position.
    """
    rest = max(0, n_bytes - extent.start)
    if extent.said <= rest and follows(extent.start + extent.said):
        said = max(extent.said, extent.frames_said * extent.frame_bytes)
        return replace(extent, said=said, held=extent.said)
    if extent.said == 0 or is_placeholder(extent.said):
        whole = rest - rest % (extent.frame_bytes or 1)
        return _mended(extent, whole)
    for wrapped in range(extent.said + (1 << 32), rest + 1, 1 << 32):
        if follows(extent.start + wrapped):
            return _mended(extent, wrapped)
    return replace(extent, held=rest)


def _mended(extent: Extent, size: int) -> Extent:
    return replace(extent, said=size, held=size, is_mended=True)


def check(extent: Extent) -> None:
    """Reject a file that lacks its end, or that goes on behind it."""
    if extent.held == extent.said:
        return
    reason = "truncated" if extent.held < extent.said else "unknown_length"
    detail = f"the header says {extent.said} bytes of audio, {extent.held} follow"
    raise BrokenFile(reason, detail)


def mended(file: BinaryIO, extent: Extent) -> BinaryIO:
    """Give a view of a file in which the header has the true size of the audio.

    Raises:
        BrokenFile: the header is too long.
    """
    field, n_bytes = extent.field, extent.start + extent.said
    if field is None or not extent.is_mended:
        return file
    if extent.start > _LONGEST_HEAD:
        detail = f"the header says a wrong size, and has {extent.start} bytes itself"
        raise BrokenFile("unknown_length", detail)
    file.seek(0)
    head = file.read(extent.start)
    size = extent.said + field.extra
    if head[:4] == b"RIFF" and size >= (1 << 32) - extent.start:
        head = _as_rf64(head, size)
    else:
        width = struct.calcsize(field.form)
        value = struct.pack(field.form, min(size, (1 << 8 * width) - 1))
        head = head[: field.position] + value + head[field.position + width :]
    return _view(file, head, extent.start, n_bytes)


def part(file: BinaryIO, start: int, stop: int) -> BinaryIO:
    """Give a view of a file between two positions, or the file if that is all of it."""
    n_bytes = file.seek(0, 2)
    return _view(file, b"", start, min(stop, n_bytes)) if start > 0 or stop < n_bytes else file


def _view(file: BinaryIO, head: bytes, start: int, stop: int) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(_View(file, head, start, stop)))


def _as_rf64(head: bytes, size: int) -> bytes:
    """Give a WAV's header up to the audio as that of an RF64, which has sizes of 64 bits."""
    ds64 = struct.pack("<4sIQQQI", b"ds64", 28, len(head) + 36 - 8 + size, size, 0, 0)
    return b"RF64\xff\xff\xff\xffWAVE" + ds64 + head[12:-4] + b"\xff" * 4


class _View(io.RawIOBase):
    """Other bytes for the head of a file, and of the rest those from `start` to `stop`."""

    def __init__(self, file: BinaryIO, head: bytes, start: int, stop: int) -> None:
        super().__init__()
        self._file, self._head, self._start = file, head, start
        self._size = len(head) + stop - start
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = (0, self._position, self._size)[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        left = max(0, self._size - self._position)
        size = left if size < 0 else min(size, left)
        if self._position < len(self._head):
            data = self._head[self._position : self._position + size]
        else:
            self._file.seek(self._start + self._position - len(self._head))
            data = self._file.read(size)
        self._position += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
