"""The pages of an Ogg file: streams that follow one another, and how long each says it is."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from beam_features.schema.audio.files import BrokenFile
from beam_features.schema.audio.tags import only_tags_follow

_HEADER = struct.Struct("<4sBBqIIIB")  # the last: its number of segments
_FIRST, _LAST = 2, 4  # flags
_MARK = b"OggS"
_REVERSED_BITS = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OPUS_RATE_HZ = 48_000


@dataclass(frozen=True)
class Page:
    """A page of a logical stream, and the bytes that its content begins with."""

    flags: int
    granule: int  # frames up to here; -1: no packet ends on it
    serial: int
    beginning: bytes
    packets: int  # that end on it

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
    longest_packet: int = 0  # frames; 0: unknown
    packets: int = 0  # up to the first page of audio, headers included

    @property
    def seconds(self) -> float:
        """How long the pages say it is, at least: without the first page of audio."""
        return max(0, self.end - max(0, self.start)) / self.rate_hz

    @property
    def begins_late(self) -> bool:
        """Whether its first page of audio says more frames than its packets can hold.

        A recorder that joins a running broadcast writes such pages. libsndfile takes the difference
        for a start that it has to leave out at the end.
        """
        return bool(self.longest_packet) and self.start > self.packets * self.longest_packet


def is_ogg(file: BinaryIO) -> bool:
    """Whether a file begins with an Ogg page."""
    file.seek(0)
    return file.read(4) == _MARK


def pages(file: BinaryIO) -> Iterator[Page]:
    """Walk all pages.

    Raises:
        BrokenFile: a page is cut, corrupt or missing: decoders leave it out.
    """
    n_bytes, position = file.seek(0, 2), 0
    numbers: dict[int, int] = {}
    while position < n_bytes:
        file.seek(position)
        header = file.read(_HEADER.size)
        if header[:4] != _MARK:
            if only_tags_follow(file, position, n_bytes):
                return
            raise BrokenFile("undecodable", f"no Ogg page at byte {position}")
        _, _, flags, granule, serial, number, _, segments = _HEADER.unpack(
            header.ljust(_HEADER.size, b"\0")
        )
        lengths = file.read(segments)
        page = header + lengths + file.read(sum(lengths))
        if len(page) < (length := _HEADER.size + segments + sum(lengths)):
            detail = f"the Ogg page at byte {position} has {len(page)} of {length} bytes"
            raise BrokenFile("truncated", detail)
        is_next = flags & _FIRST or number == numbers.get(serial, number - 1) + 1
        if not is_next or not _is_intact(page):
            detail = f"the Ogg page at byte {position} is corrupt, or the one before is missing"
            raise BrokenFile("undecodable", detail)
        numbers[serial] = number
        position += length
        ended = sum(length < 255 for length in lengths)
        yield Page(flags, granule, serial, page[_HEADER.size + segments :][:64], ended)


def _is_intact(page: bytes) -> bool:
    """Whether the checksum of a page is right: a CRC-32 from the highest bit to the lowest.

    zlib has the same polynomial from the lowest bit on, and inverts at both ends.
    """
    cleared = page[:22] + bytes(4) + page[26:]
    crc = zlib.crc32(cleared.translate(_REVERSED_BITS), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED_BITS) == page[22:26]


def streams(walk: Iterable[Page]) -> list[Stream]:
    """Give the first audio stream of each link: more than one in a chained file.

    Raises:
        BrokenFile: the position of a page is before that of the one before, or not said at the end.
    """
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
            links[-1] = Stream(page.serial, rate_hz, longest_packet=_longest_packet(page.beginning))
        elif page.serial == link.serial and link.rate_hz:
            links[-1] = _with_page(link, page)
    return [link for link in links if link.rate_hz]


def _with_page(stream: Stream, page: Page) -> Stream:
    is_untold = page.granule < 0 and not (page.is_last and page.beginning)
    if page.granule < stream.end and not is_untold:
        detail = f"an Ogg page says that it ends at {page.granule}, the one before at {stream.end}"
        raise BrokenFile("undecodable", detail)
    packets = stream.packets + (page.packets if stream.start < 0 else 0)
    stream = replace(stream, is_complete=page.is_last, packets=packets)
    if page.granule <= 0:  # headers, or a packet goes on
        return stream
    start = page.granule if stream.start < 0 else stream.start
    return replace(stream, start=start, end=max(stream.end, page.granule))


def _longest_packet(beginning: bytes) -> int:
    """Frames in the longest packet of a stream; 0 if it is not known.

    Vorbis: half of the larger block size (Vorbis I specification, sec. 4.2.2 and 4.3.8). Opus: 120
    ms (RFC 6716, sec. 3.2.5).
    """
    if beginning.startswith(b"OpusHead"):
        return round(0.12 * _OPUS_RATE_HZ)
    if beginning.startswith(b"\x01vorbis") and len(beginning) > 28:
        return 1 << (beginning[28] >> 4) >> 1
    return 0


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
