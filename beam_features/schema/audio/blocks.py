"""The extent of the audio in lossless formats of blocks: True Audio, WavPack, Monkey's Audio."""

import struct
from dataclasses import replace
from typing import BinaryIO

from beam_features.schema.audio.extent import Extent, measured
from beam_features.schema.audio.tags import only_tags_follow, start_of_audio

_WAVPACK_RATES_HZ = (
    *(6_000, 8_000, 9_600, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    *(64_000, 88_200, 96_000, 192_000),
)
_WAVPACK_INITIAL = 0x800  # flag: the first of the blocks of all channels
_NEW_APE = 3980  # versions from here on say how many bytes there are


def find_audio(file: BinaryIO) -> Extent | None:
    """Find the audio of a file, None if it is another format."""
    base = start_of_audio(file)
    file.seek(base)
    head = file.read(76)
    if head[:4] == b"TTA1" and len(head) >= 22:
        return _measured(file, _true_audio(file, base, head))
    if head[:4] == b"MAC " and len(head) == 76 and int.from_bytes(head[4:6], "little") >= _NEW_APE:
        return _measured(file, _monkeys(base, head))
    return _wavpack(file, base) if head[:4] == b"wvpk" else None


def _measured(file: BinaryIO, extent: Extent) -> Extent:
    n_bytes = file.seek(0, 2)
    extent = measured(extent, n_bytes, lambda position: only_tags_follow(file, position, n_bytes))
    return replace(extent, stop=extent.start + extent.held)


def _true_audio(file: BinaryIO, base: int, head: bytes) -> Extent:
    """Read the table of the sizes of all frames; each but the last has 256 / 245 seconds."""
    rate_hz, n_frames = struct.unpack("<II", head[10:18])
    n_blocks = -(-n_frames // max(1, 256 * rate_hz // 245))
    n_bytes = file.seek(0, 2)
    start = base + 22 + 4 * n_blocks + 4
    file.seek(base + 22)
    table = file.read(max(0, min(4 * n_blocks, n_bytes - base)))
    sizes = struct.unpack(f"<{len(table) // 4}I", table[: len(table) // 4 * 4])
    return Extent(start, sum(sizes), 0, rate_hz=rate_hz, frames_said=n_frames)


def _monkeys(base: int, head: bytes) -> Extent:
    descriptor, header, table, wav, low, high, tail = struct.unpack("<7I", head[8:36])
    block, last, n_blocks, _, _, rate_hz = struct.unpack("<IIIHHI", head[56:76])
    start = base + descriptor + header + table + wav
    n_frames = max(0, n_blocks - 1) * block + last
    return Extent(start, (high << 32) + low + tail, 0, rate_hz=rate_hz, frames_said=n_frames)


def _wavpack(file: BinaryIO, base: int) -> Extent:
    """Walk the blocks, each of which says its size and its frames."""
    n_bytes, position = file.seek(0, 2), base
    n_frames, said, rate_hz = 0, 0, 0
    while position < n_bytes:
        file.seek(position)
        header = file.read(32)
        if header[:4] != b"wvpk" or len(header) < 32:
            break
        size, _, _, _, total, _, count, flags = struct.unpack("<IHBBIIII", header[4:28])
        rate_hz = rate_hz or (*_WAVPACK_RATES_HZ, 0)[flags >> 23 & 15]
        said = said or (total if total != 0xFFFFFFFF else 0)
        n_frames += count if flags & _WAVPACK_INITIAL else 0
        position += 8 + size
    extent = Extent(base, position - base, 0, rate_hz=rate_hz, frames_said=max(said, n_frames))
    return _measured(file, extent)
