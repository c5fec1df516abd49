"""Headers of MPEG audio frames: whether bytes hold frames that follow one another."""

import re

_SYNC = re.compile(rb"\xff[\xe2-\xff]")
_FRAMES_IN_A_ROW = 4  # fewer may be chance, in a picture
_KBIT_S = {  # by (version 1, layer); version 2 and 2.5 share a table
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def frame_bytes(header: bytes) -> int:
    """Give the length of the frame that begins with a header of 4 bytes, 0 if it is none."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    rate, bits, padding = header[2] >> 2 & 3, header[2] >> 4, header[2] >> 1 & 1
    if version == 1 or layer == 4 or rate == 3 or bits in (0, 15):
        return 0
    bit_s = 1000 * _KBIT_S[version == 3, layer][bits - 1]
    rate_hz = _RATES_HZ[version][rate]
    if layer == 1:
        return (12 * bit_s // rate_hz + padding) * 4
    samples = 576 if layer == 3 and version != 3 else 1152
    return samples // 8 * bit_s // rate_hz + padding


def has_frames(data: bytes) -> bool:
    """Whether there are frames that follow one another."""
    return any(_row(data, found.start()) for found in _SYNC.finditer(data))


def _row(data: bytes, position: int) -> bool:
    for _ in range(_FRAMES_IN_A_ROW):
        if not (length := frame_bytes(data[position : position + 4])):
            return False
        position += length
    return True
