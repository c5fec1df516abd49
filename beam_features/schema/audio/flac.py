"""The header of a FLAC file and of its frames: how long it is, and whether it goes on."""

from dataclasses import dataclass
from typing import BinaryIO

from beam_features.schema.audio.tags import start_of_audio

_MARK = b"fLaC"
_POLYNOMIAL = 0x07  # of the CRC-8 of a frame header
_RATES_HZ = dict(  # by code
    enumerate(
        (88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000),
        start=1,
    )
)
_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}  # by code


@dataclass(frozen=True)
class StreamInfo:
    """What the first metadata block says."""

    block_frames: int  # of every frame but the last, 0 if they differ
    rate_hz: int
    n_channels: int
    bits: int
    n_frames: int  # 0: not known


def stream_info(file: BinaryIO) -> StreamInfo | None:
    """Read the header of a FLAC file, None if it is another format."""
    file.seek(start_of_audio(file))
    data = file.read(42)
    return parse_stream_info(data) if len(data) == 42 and data[:4] == _MARK else None


def parse_stream_info(data: bytes) -> StreamInfo:
    """Parse the mark and the block that follows it, 42 bytes."""
    shortest, longest = int.from_bytes(data[8:10], "big"), int.from_bytes(data[10:12], "big")
    packed = int.from_bytes(data[18:26], "big")
    return StreamInfo(
        block_frames=longest if shortest == longest else 0,
        rate_hz=packed >> 44,
        n_channels=(packed >> 41 & 7) + 1,
        bits=(packed >> 36 & 31) + 1,
        n_frames=packed & (1 << 36) - 1,
    )


def goes_on(data: bytes, info: StreamInfo) -> bool:
    """Whether bytes at the end of a FLAC have a frame behind its last, or another file."""
    if _MARK + b"\0\0\0\x22" in data or _MARK + b"\x80\0\0\x22" in data:
        return True
    position = -1
    while (position := data.find(b"\xff", position + 1)) >= 0:
        first = _first_sample(data[position : position + 16], info)
        if first is not None and first >= info.n_frames:
            return True
    return False


def _first_sample(header: bytes, info: StreamInfo) -> int | None:
    """Parse the header of a frame: the number of its first sample; None if it is no header."""
    if len(header) < 16 or header[1] & 0xFE != 0xF8 or header[3] & 1:
        return None
    if not _is_like(header, info):
        return None
    ones = 8 - (header[4] ^ 0xFF).bit_length()  # the number is coded like a character of UTF-8
    if ones in (1, 8):
        return None
    number = header[4] & 0x7F >> ones
    for byte in header[5 : 4 + ones]:
        number = number << 6 | byte & 0x3F
    end = 4 + max(1, ones) + {6: 1, 7: 2}.get(header[2] >> 4, 0)
    end += {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    if _crc8(header[:end]) != header[end]:
        return None
    return number if header[1] & 1 else number * info.block_frames


def _is_like(header: bytes, info: StreamInfo) -> bool:
    """Whether a frame header has the rate, the channels and the bits of the file."""
    assignment = header[3] >> 4
    n_channels = 2 if 8 <= assignment <= 10 else assignment + 1
    rate_hz = _RATES_HZ.get(header[2] & 15, info.rate_hz)
    bits = _BITS.get(header[3] >> 1 & 7, info.bits)
    return (rate_hz, n_channels, bits) == (info.rate_hz, info.n_channels, info.bits)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ _POLYNOMIAL if crc & 0x80 else crc << 1) & 0xFF
    return crc
