"""The pages of an Ogg file: streams that follow one another, and how long each says it is."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

_HEADER = struct.Struct("<4sBBqIIIB")  # the last: its number of segments
_FIRST, _LAST = 2, 4  # flags
_LONGEST_PAGE = 27 + 255 + 255 * 255
_OPUS_RATE_HZ = 48_000


@dataclass(frozen=True)
class Page:
    """A page of a logical stream, and the bytes that its content begins with."""

    start: int
    end: int
    flags: int
    granule: int  # frames up to here; -1: no packet ends on it
    serial: int
    beginning: bytes

    @property
    def is_first(self) -> bool:
        """Whether a stream begins with it."""
        return bool(self.flags & _FIRST)

    @property
    def is_last(self) -> bool:
        """Whether its stream ends with it."""
        return bool(self.flags & _LAST)


@dataclass(frozen=True)
class Stream:
    """The first audio stream of a link of a chain."""

    serial: int
    rate_hz: float
    start: int = -1  # granule of the first page of audio
    end: int = 0  # granule of the last page
    is_complete: bool = False  # its last page is marked as such

    @property
    def seconds(self) -> float:
        """How long the pages say it is, at least: without the first page of audio."""
        return max(0, self.end - max(0, self.start)) / self.rate_hz


def is_ogg(file: BinaryIO) -> bool:
    """Whether a file begins with an Ogg page."""
    file.seek(0)
    return file.read(4) == b"OggS"


def pages(file: BinaryIO, position: int = 0) -> Iterator[Page]:
    """Walk the pages from a position on, over what is no page, up to one that is cut."""
    n_bytes = file.seek(0, 2)
    while (found := _find(file, position, n_bytes)) is not None:
        file.seek(found)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return
        _, _, flags, granule, serial, _, _, segments = _HEADER.unpack(header)
        lengths = file.read(segments)
        position = found + _HEADER.size + segments + sum(lengths)
        if position > n_bytes:
            return
        beginning = file.read(min(64, sum(lengths))) if flags & _FIRST else b""
        yield Page(found, position, flags, granule, serial, beginning)


def _find(file: BinaryIO, position: int, n_bytes: int) -> int | None:
    """Find the next page; the one at `position` costs no search."""
    while position < n_bytes:
        file.seek(position)
        block = file.read(4)
        if block == b"OggS":
            return position
        block += file.read(_LONGEST_PAGE)
        if (at := block.find(b"OggS")) >= 0:
            return position + at
        position += max(1, len(block) - 3)
    return None


def streams(walk: Iterable[Page]) -> list[Stream]:
    """Give the first audio stream of each link: more than one in a chained file."""
    links: list[Stream] = []
    in_header = False  # of a link: the first pages of all its streams
    for page in walk:
        if page.is_first and not in_header:
            links.append(Stream(-1, 0))
        in_header = page.is_first
        if not links:
            continue
        link = links[-1]
        if page.is_first and not link.rate_hz and (rate_hz := rate_of(page.beginning)):
            links[-1] = Stream(page.serial, rate_hz)
        elif page.serial == link.serial and link.rate_hz:
            links[-1] = _with_page(link, page)
    return [link for link in links if link.rate_hz]


def _with_page(stream: Stream, page: Page) -> Stream:
    stream = replace(stream, is_complete=page.is_last)
    if page.granule <= 0:  # headers, or a packet goes on
        return stream
    start = page.granule if stream.start < 0 else stream.start
    return replace(stream, start=start, end=max(stream.end, page.granule))


def rate_of(beginning: bytes) -> float:
    """Frames per second that the granules of a stream count; 0 if it is no audio."""
    if beginning.startswith(b"OpusHead"):
        return _OPUS_RATE_HZ
    if beginning.startswith(b"\x01vorbis"):
        return float(int.from_bytes(beginning[12:16], "little"))
    if beginning.startswith(b"Speex   "):
        return float(int.from_bytes(beginning[36:40], "little"))
    if beginning.startswith(b"\x7fFLAC"):
        return float(int.from_bytes(beginning[27:30], "big") >> 4)
    return 0.0
