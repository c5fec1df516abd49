"""Recordings with a fault: bytes of a good file, changed, and how long the audio in them is.

How long it is follows from what was written and what was changed, not from any decoder. Where that
is not possible (half of a stream whose header says no length), it is None: ask a decoder.
"""

import itertools
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

HEADER_BYTES = 4200  # CAF's is 4096
CODEC_DELAY_S = 0.14  # how much longer than its samples an encoding may say it is
ORDERS = ("big", "little")
UNITS_HZ = {b"\x30\x26\xb2\x75": (10_000_000, 1_000), b"\x1aE\xdf\xa3": (1_000,)}  # ASF, Matroska
COUNTS = {  # of packets or frames: the byte order, and how far behind a mark
    b"pakt": ("big", 16),
    b"Xing": ("big", 8),
    b"Info": ("big", 8),
    b"fact": ("little", 8),
    b"COMM": ("big", 10),
}
BOXES_OF_BOXES = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl")
BOX_LENGTHS = {  # durations and counts, at which offset
    b"mvhd": (16,),
    b"tkhd": (20,),
    b"mdhd": (16,),
    b"elst": (8,),
    b"stts": (4, 8, 12),
    b"stsc": (4, 12),
    b"stsz": (4, 8),
    b"stco": (4,),
}
EOS = 4  # of the flags of an Ogg page


@dataclass(frozen=True)
class Original:
    """A good file and what was written into it."""

    data: bytes
    rate_hz: int
    n_channels: int
    seconds: float
    is_stream: bool  # nothing in it would contradict a missing end


@dataclass(frozen=True)
class Mutant:
    """A changed file: the change, its bytes, and the seconds of audio that they stand for."""

    change: str  # "kind: detail"
    data: bytes
    seconds: float | None
    is_sound: bool = False  # a decoder that rejects it is too strict

    @property
    def kind(self) -> str:
        return self.change.partition(":")[0]


@dataclass(frozen=True)
class Field:
    """An integer in a file: where it begins, its width in bytes, and its byte order."""

    offset: int
    n_bytes: int
    order: str

    def read(self, data: bytes) -> int:
        return int.from_bytes(data[self.offset : self.offset + self.n_bytes], self.order)

    def write(self, data: bytes, value: int) -> bytes:
        """Write the lowest bytes of a value."""
        number = (value % (1 << 8 * self.n_bytes)).to_bytes(self.n_bytes, self.order)
        return data[: self.offset] + number + data[self.offset + self.n_bytes :]

    def wrong_values(self, data: bytes) -> dict[str, int]:
        value, bits = self.read(data), 8 * self.n_bytes
        return {
            "zero": 0,
            "one": 1,
            "all ones": (1 << bits) - 1,
            "largest signed": (1 << bits - 1) - 1,
            "half": value // 2,
            "twice": value * 2,
            "wrapped": value % 1024,
            "one more": value + 1,
            "one less": value - 1,
            "odd": value ^ 1,
        }


def length_fields(original: Original) -> list[Field]:
    """Find the numbers that say how long a file is: in bytes, in units of time, or in packets."""
    if original.data[:4] == b"OggS":  # has none, but positions in its pages
        return []
    if original.data[4:8] == b"ftyp":
        return list(_fields_of_boxes(original.data, 0, len(original.data)))
    fields: list[Field] = []
    for n_bytes, offset, order in itertools.product((8, 4, 3), _places(original.data), ORDERS):
        field = Field(offset, n_bytes, order)
        is_new = not any(_overlap(field, other) for other in fields)
        if is_new and _is_length(field, original):
            fields.append(field)
    return list(dict.fromkeys([*fields, *_counts(original.data)]))


def _places(data: bytes) -> list[int]:
    """Where such numbers are: at the beginning and at the end."""
    n_bytes = len(data)
    return sorted({*range(min(n_bytes, HEADER_BYTES)), *range(max(0, n_bytes - 2048), n_bytes)})


def _overlap(one: Field, other: Field) -> bool:
    return one.offset < other.offset + other.n_bytes and other.offset < one.offset + one.n_bytes


def _is_length(field: Field, original: Original) -> bool:
    value, n_bytes = field.read(original.data), len(original.data)
    if field.n_bytes == 3:  # of a VOC block: what follows, without its end mark
        return original.data[:8] == b"Creative" and value == n_bytes - field.offset - 4
    if n_bytes - 128 - field.offset < value <= n_bytes:
        return field.offset < HEADER_BYTES
    return any(
        0 <= value / unit_hz - original.seconds < CODEC_DELAY_S
        for unit_hz in (original.rate_hz, *UNITS_HZ.get(original.data[:4], ()))
    )


def _counts(data: bytes) -> Iterator[Field]:
    for mark, (order, distance) in COUNTS.items():
        if (place := data.find(mark, 0, HEADER_BYTES)) >= 0:
            yield Field(place + distance, 4, order)


def _fields_of_boxes(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the sizes of MPEG-4's boxes, and the durations and counts in them."""
    while start < end:
        size, name = Field(start, 4, "big"), data[start + 4 : start + 8]
        yield size
        yield from (Field(start + 8 + place, 4, "big") for place in BOX_LENGTHS.get(name, ()))
        if name in BOXES_OF_BOXES:
            yield from _fields_of_boxes(data, start + 8, start + size.read(data))
        start += size.read(data) or end


def mutants(original: Original, others: Mapping[str, Original]) -> Iterator[Mutant]:
    """Yield every change of a file.

    Args:
        original: the file.
        others: complete files of the same form to put behind it, by what is other.
    """
    yield Mutant("none", original.data, original.seconds, is_sound=True)
    yield from wrong_lengths(original)
    yield from cut(original)
    yield from with_tags(original)
    yield from with_something(original)
    yield from joined(original, others)
    yield from damaged(original)
    if original.data[:4] == b"OggS":
        yield from wrong_pages(original)


def wrong_lengths(original: Original) -> Iterator[Mutant]:
    for field in length_fields(original):
        for name, value in field.wrong_values(original.data).items():
            data = with_checksums(field.write(original.data, value))
            yield Mutant(f"length: {name} at {field.offset}", data, original.seconds)
    for factor in (0, 0.5, 0.99, 2):
        for data in _scaled_duration(original.data, factor), _scaled_count(original.data, factor):
            if data != original.data:
                yield Mutant(f"length: times {factor}", data, original.seconds)


def _scaled_duration(data: bytes, factor: float) -> bytes:
    """Change the duration of a Matroska file, a double."""
    place = data.find(b"\x44\x89\x88") + 3
    if not data.startswith(b"\x1aE\xdf\xa3") or place < 3:
        return data
    (duration,) = struct.unpack_from(">d", data, place)
    return data[:place] + struct.pack(">d", duration * factor) + data[place + 8 :]


def _scaled_count(data: bytes, factor: float) -> bytes:
    """Change the number of samples of a NIST file, which is text."""

    def scaled(count: re.Match[bytes]) -> bytes:
        return b"%s%d" % (count[1], int(count[2]) * factor)

    return re.sub(rb"(sample_count -i )(\d+)", scaled, data) if data[:4] == b"NIST" else data


def cut(original: Original) -> Iterator[Mutant]:
    seconds = None if original.is_stream else original.seconds
    n_bytes = len(original.data)
    for part in (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        yield Mutant(f"cut: {part} left", original.data[: int(n_bytes * part)], seconds)
    for missing in (1, 2, 100):
        yield Mutant(f"cut: {missing} bytes", original.data[:-missing], seconds)


def with_tags(original: Original) -> Iterator[Mutant]:
    """Tags that programs add to files of any format."""
    for name, tag in tags_behind().items():
        yield Mutant(f"tag: {name} behind", original.data + tag, original.seconds)
    yield Mutant("tag: ID3v2 before", id3v2(20_000) + original.data, original.seconds)


def tags_behind() -> dict[str, bytes]:
    id3v1 = b"TAG" + b"Title".ljust(124, b"\0") + b"\xff"
    item = struct.pack("<2I", 4, 0) + b"Artist\0" + b"Name"
    ends = [
        b"APETAGEX" + struct.pack("<4I8x", 2000, len(item) + 32, 1, 1 << 31 | is_header << 29)
        for is_header in (1, 0)
    ]
    lyrics = b"LYRICSBEGIN" + b"INF00002100"
    return {
        "ID3v1": id3v1,
        "ID3v2": id3v2(),
        "APE": ends[0] + item + ends[1],
        "APE and ID3v1": ends[0] + item + ends[1] + id3v1,
        "lyrics": lyrics + b"%06dLYRICS200" % len(lyrics) + id3v1,
    }


def id3v2(n_padding: int = 20) -> bytes:
    frame = b"TIT2" + struct.pack(">IH", 6, 0) + b"\0Title"
    size = len(frame) + n_padding
    sizes = bytes([0, size >> 14, size >> 7 & 127, size & 127])
    return b"ID3\3\0\0" + sizes + frame + bytes(n_padding)


def with_something(original: Original) -> Iterator[Mutant]:
    noise = np.random.default_rng(0).bytes(5000)
    chunk = (
        b"LIST" + struct.pack("<I", 26) + b"INFOISFT" + struct.pack("<I", 14) + b"made by hand\0\0"
    )
    for n_bytes in (1, 100, 5000):
        yield Mutant(f"behind: {n_bytes} zeros", original.data + bytes(n_bytes), original.seconds)
        yield Mutant(
            f"behind: {n_bytes} of noise", original.data + noise[:n_bytes], original.seconds
        )
    yield Mutant("behind: a chunk", original.data + chunk, original.seconds)
    yield Mutant("before: zeros", bytes(100) + original.data, original.seconds)
    yield Mutant("before: noise", noise[:100] + original.data, original.seconds)


def joined(original: Original, others: Mapping[str, Original]) -> Iterator[Mutant]:
    """Two complete files in one: all of both is audio."""
    for name, other in others.items():
        seconds = original.seconds + other.seconds
        yield Mutant(f"joined: {name}", original.data + other.data, seconds)
        yield Mutant(
            f"joined: three, {name}", original.data + 2 * other.data, seconds + other.seconds
        )


def damaged(original: Original) -> Iterator[Mutant]:
    """Damage in the middle, where there is audio: it lasts as long as before."""
    rng = np.random.default_rng(len(original.data))
    first = len(original.data) // 3
    seconds = None if original.is_stream else original.seconds
    for n_bits in (1, 1, 1, 10, 100):
        data = bytearray(original.data)
        for position in rng.integers(first, 2 * first, n_bits):
            data[position] ^= 1 << int(rng.integers(8))
        yield Mutant(f"damage: {n_bits} bits", bytes(data), original.seconds)
    for name, piece in {
        "zeroed": bytes(300),
        "noise": rng.bytes(300),
        "removed": b"",
        "repeated": 2 * original.data[first : first + 300],
    }.items():
        data = original.data[:first] + piece + original.data[first + 300 :]
        yield Mutant(f"damage: 300 bytes {name}", data, seconds)


def wrong_pages(original: Original) -> Iterator[Mutant]:
    pages = ogg_pages(original.data)
    for index in sorted({2, 3, max(3, len(pages) // 2), len(pages) - 1}):
        start = sum(map(len, pages[:index]))
        granule = Field(start + 6, 8, "little")
        for name, value in granule.wrong_values(original.data).items():
            data = with_checksums(granule.write(original.data, value))
            yield Mutant(f"granule: {name} in page {index - len(pages)}", data, original.seconds)
        yield Mutant(
            f"page: {index - len(pages)} missing",
            b"".join(pages[:index] + pages[index + 1 :]),
            original.seconds,
        )
    last = len(original.data) - len(pages[-1])
    data = bytearray(original.data)
    data[last + 5] &= ~EOS
    yield Mutant("page: no last one", with_checksums(bytes(data)), original.seconds)


def ogg_pages(data: bytes) -> list[bytes]:
    pages = []
    while data[:4] == b"OggS":
        table = data[27 : 27 + data[26]]
        size = 27 + len(table) + sum(table)
        pages.append(data[:size])
        data = data[size:]
    return pages


def with_checksums(data: bytes) -> bytes:
    """Make the checksums of a changed header right again."""
    if data[:4] == b"OggS":
        return b"".join(map(_page_with_checksum, ogg_pages(data)))
    if data[:4] == b"TTA1":
        return data[:18] + struct.pack("<I", zlib.crc32(data[:18])) + data[22:]
    return data


def _page_with_checksum(page: bytes) -> bytes:
    remainder = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        remainder = remainder << 8 & 0xFFFFFFFF ^ _OGG_TABLE[remainder >> 24 ^ byte]
    return page[:22] + struct.pack("<I", remainder) + page[26:]


def _ogg_remainder(byte: int) -> int:
    remainder = byte << 24
    for _ in range(8):
        remainder = (remainder << 1) ^ (0x104C11DB7 if remainder >> 31 else 0)
    return remainder


_OGG_TABLE = [_ogg_remainder(byte) for byte in range(256)]
