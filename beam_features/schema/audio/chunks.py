"""The extent of the audio in formats of chunks: WAV, RF64, Wave64, AIFF and CAF."""

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from beam_features.schema.audio.extent import Extent, SizeField, measured
from beam_features.schema.audio.tags import only_tags_follow, start_of_audio

_LINEAR_WAV = (1, 3, 6, 7)  # PCM, float, A-law, mu-law
_LINEAR_AIFF = (
    *(bytes(4), b"NONE", b"sowt", b"twos", b"raw ", b"in24", b"in32", b"42ni", b"23ni"),
    *(b"fl32", b"FL32", b"fl64", b"FL64", b"ulaw", b"ULAW", b"alaw", b"ALAW"),
)
_PACKETS_AIFF = {b"GSM ": (33, 160), b"ima4": (34, 64)}  # bytes and frames of a packet, per channel
_LINEAR_CAF = (b"lpcm", b"ulaw", b"alaw")
_FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"riff", b"caff")  # another file follows
_COMMON = (  # chunks behind the audio, which may lack their own end
    *(b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"inst", b"iXML", b"_PMX", b"aXML"),
    *(b"JUNK", b"junk", b"PAD ", b"FLLR", b"fact", b"PEAK", b"plst", b"SAUR", b"cart", b"afsp"),
    *(b"MARK", b"COMT", b"INST", b"MIDI", b"APPL", b"NAME", b"AUTH", b"ANNO", b"(c) ", b"CHAN"),
    *(b"info", b"chan", b"strg", b"kuki", b"pakt", b"peak", b"mark", b"regn", b"uuid", b"free"),
)
_MOST_CHUNKS = 10_000  # more are no recording
_W64_GUID = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


@dataclass(frozen=True)
class _Layout:
    """How a format writes its chunks."""

    size: str  # of `struct`
    audio: bytes  # name of the chunk with the audio
    first: int  # position of the first chunk
    name_bytes: int = 4
    align: int = 2
    counts_header: bool = False  # the size is that of the whole chunk

    @property
    def header_bytes(self) -> int:
        return self.name_bytes + struct.calcsize(self.size)


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # of the content
    size: int  # of the content

    @property
    def end(self) -> int:
        return self.start + self.size


_Chunks = dict[bytes, _Chunk]


_RIFF = _Layout("<I", b"data", 12)
_RIFX = _Layout(">I", b"data", 12)
_W64 = _Layout("<Q", b"data", 40, name_bytes=16, align=8, counts_header=True)
_AIFF = _Layout(">I", b"SSND", 12)
_CAF = _Layout(">Q", b"data", 8, align=1)


def find_audio(file: BinaryIO) -> Extent | None:
    """Find the audio of a file of chunks, None if it is another format or has no audio chunk."""
    base = start_of_audio(file)
    file.seek(base)
    layout, read_header = _format_of(file.read(40))
    if layout is None:
        return None
    n_bytes = file.seek(0, 2)
    found: dict[bytes, _Chunk] = {}
    for chunk in _chunks(file, layout, base + layout.first, n_bytes):
        found.setdefault(chunk.name, chunk)
        if chunk.name == layout.audio and layout is not _AIFF:
            break
    if layout.audio not in found:
        return None
    extent = read_header(file, found)
    extent = measured(extent, n_bytes, _follows(file, layout, extent.start, n_bytes))
    # Of the others, libsndfile and ffmpeg heed the size.
    return replace(extent, stop=extent.start + extent.held) if layout is _W64 else extent


def _format_of(head: bytes) -> tuple[_Layout | None, Callable[[BinaryIO, _Chunks], Extent]]:
    form = head[8:12]
    if head[:4] in (b"RIFF", b"RF64", b"BW64") and form == b"WAVE":
        return _RIFF, _wav
    if head[:4] == b"RIFX" and form == b"WAVE":
        return _RIFX, _rifx
    if head[:16] == _W64_GUID:
        return _W64, _w64
    if head[:4] == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _AIFF, _aiff
    return (_CAF if head[:4] == b"caff" else None), _caf


def _chunks(file: BinaryIO, layout: _Layout, position: int, end: int) -> Iterator[_Chunk]:
    """Walk chunks up to what is none; the last may say that it is longer than the file."""
    for _ in range(_MOST_CHUNKS):
        if position > end:
            return
        file.seek(position)
        header = file.read(min(layout.header_bytes, end - position))
        name = header[:4]
        if len(header) < layout.header_bytes or not _is_name(name):
            return
        (size,) = struct.unpack(layout.size, header[layout.name_bytes :])
        size -= layout.header_bytes if layout.counts_header else 0
        chunk = _Chunk(name, position + layout.header_bytes, max(0, size))
        yield chunk
        position = chunk.end + -chunk.size % layout.align


def _is_name(name: bytes) -> bool:
    return name.isascii() and name.decode().isprintable()


def _follows(file: BinaryIO, layout: _Layout, start: int, end: int) -> Callable[[int], bool]:
    """Give the test whether nothing but chunks and tags follow a position, padded or not."""

    def follow(position: int) -> bool:
        for chunk in _chunks(file, layout, position, end):
            if only_tags_follow(file, position, end):
                return True
            if chunk.name in (*_FILES, layout.audio):
                return False
            if chunk.end > end:
                return chunk.name in _COMMON
            position = chunk.end + -chunk.size % layout.align
        return end - position < layout.header_bytes or only_tags_follow(file, position, end)

    def padded_or_not(position: int) -> bool:
        return follow(position) or follow(position + (start - position) % layout.align)

    return padded_or_not


def _wav(file: BinaryIO, found: _Chunks, order: str = "<") -> Extent:
    data, large = found[b"data"], found.get(b"ds64")
    said, field = data.size, SizeField(data.start - 4, order + "I")
    if large and said == 0xFFFFFFFF:
        (said,) = struct.unpack("<Q", _content(file, large, 16)[8:])
        field = SizeField(large.start + 8, "<Q")
    return _with_format(file, found, Extent(data.start, said, 0, field=field), order)


def _rifx(file: BinaryIO, found: _Chunks) -> Extent:
    return _wav(file, found, ">")


def _w64(file: BinaryIO, found: _Chunks) -> Extent:
    data = found[b"data"]
    field = SizeField(data.start - 8, "<Q", extra=_W64.header_bytes)
    return _with_format(file, found, Extent(data.start, data.size, 0, field=field), "<")


def _with_format(file: BinaryIO, found: _Chunks, extent: Extent, order: str) -> Extent:
    """Add what the ``fmt `` chunk says."""
    if b"fmt " not in found:
        return extent
    content = _content(file, found[b"fmt "], 26)
    tag, channels, rate_hz, _, align, bits = struct.unpack(order + "HHIIHH", content[:16])
    if tag == 0xFFFE:  # extensible
        (tag,) = struct.unpack(order + "H", content[24:])
    if tag not in _LINEAR_WAV:
        return replace(extent, rate_hz=rate_hz, codec=f"the codec 0x{tag:04X} in WAV")
    return replace(extent, frame_bytes=max(align, channels * -(-bits // 8)), rate_hz=rate_hz)


def _aiff(file: BinaryIO, found: _Chunks) -> Extent:
    sound = found[b"SSND"]
    (offset,) = struct.unpack(">I", _content(file, sound, 4))
    field = SizeField(sound.start - 4, ">I", extra=8 + offset)
    extent = Extent(sound.start + 8 + offset, max(0, sound.size - 8 - offset), 0, field=field)
    if b"COMM" not in found:
        return extent
    content = _content(file, found[b"COMM"], 22)
    channels, frames, bits, exponent, mantissa = struct.unpack(">HIHHQ", content[:18])
    frame_bytes = channels * -(-bits // 8) if content[18:] in _LINEAR_AIFF else 0
    if packet := _PACKETS_AIFF.get(content[18:]):  # of which the last may be padded
        n_packets = extent.said // (packet[0] * max(1, channels))
        frames = max(0, (n_packets - 1) * packet[1])
    rate_hz = math.ldexp(mantissa, min(exponent & 0x7FFF, 16446 + 64) - 16446)
    return replace(extent, frame_bytes=frame_bytes, rate_hz=rate_hz, frames_said=frames)


def _caf(file: BinaryIO, found: _Chunks) -> Extent:
    data = found[b"data"]
    field = SizeField(data.start - 8, ">Q", extra=4)
    extent = Extent(data.start + 4, max(0, data.size - 4), 0, field=field)
    if b"desc" not in found:
        return extent
    content = _content(file, found[b"desc"], 32)
    rate_hz, kind, _, packet_bytes = struct.unpack(">d4sII", content[:20])
    frame_bytes = packet_bytes if kind in _LINEAR_CAF else 0
    return replace(extent, frame_bytes=frame_bytes, rate_hz=rate_hz)


def _content(file: BinaryIO, chunk: _Chunk, n_bytes: int) -> bytes:
    """Read the beginning of a chunk, with zeros for what it lacks."""
    file.seek(chunk.start)
    return file.read(min(n_bytes, chunk.size)).ljust(n_bytes, b"\0")
