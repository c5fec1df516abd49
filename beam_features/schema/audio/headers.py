"""The extent of the audio in formats of one header: AU, VOC and NIST SPHERE."""

import struct
from dataclasses import replace
from typing import BinaryIO

from beam_features.schema.audio.extent import Extent, SizeField, measured
from beam_features.schema.audio.files import BrokenFile
from beam_features.schema.audio.tags import only_tags_follow

_AU_SAMPLE_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}  # by encoding
_VOC_MAGIC = b"Creative Voice File\x1a"
_VOC_SAMPLE_BYTES = {0: 1, 4: 2, 6: 1, 7: 1}  # by codec
_VOC_HEADER_BYTES = {1: 2, 2: 0, 9: 12}  # of blocks of sound, by type
_VOC_END, _VOC_SILENCE, _VOC_REPEAT, _VOC_LAST_TYPE = 0, 3, 6, 9
_MOST_BLOCKS = 1_000_000


def find_audio(file: BinaryIO) -> Extent | None:
    """Find the audio of a file, None if it is another format."""
    file.seek(0)
    head = file.read(24)
    if head[:4] in (b".snd", b"dns."):
        return _au(file, head)
    if head.startswith(_VOC_MAGIC):
        return _voc(file, head)
    return _nist(file) if head.startswith(b"NIST_1A\n") else None


def _au(file: BinaryIO, head: bytes) -> Extent | None:
    order = ">" if head[:4] == b".snd" else "<"
    if len(head) < 24:
        return None
    start, said, encoding, rate_hz, channels = struct.unpack(order + "5I", head[4:])
    frame_bytes = channels * _AU_SAMPLE_BYTES.get(encoding, 0)
    field = SizeField(8, order + "I")
    return _of_header(file, Extent(start, said, 0, frame_bytes, rate_hz, field=field))


def _nist(file: BinaryIO) -> Extent | None:
    """Read the lines ``name -type value`` of a SPHERE header."""
    file.seek(8)
    length = file.read(8).strip()
    if not length.isdigit():
        return None
    lines = file.read(min(int(length), 1 << 16)).decode("latin1").splitlines()
    words = [line.split(maxsplit=2) for line in lines]
    values = {word[0]: word[2].strip() for word in words if len(word) == 3}
    numbers = {name: int(value) for name, value in values.items() if value.isdigit()}
    frame_bytes = numbers.get("channel_count", 1) * numbers.get("sample_n_bytes", 0)
    said = numbers.get("sample_count", 0) * frame_bytes
    if "," in values.get("sample_coding", ""):  # embedded compression
        return None
    rate_hz = numbers.get("sample_rate", 0)
    return _of_header(file, Extent(int(length), said, 0, frame_bytes, rate_hz))


def _of_header(file: BinaryIO, extent: Extent) -> Extent:
    n_bytes = file.seek(0, 2)
    extent = measured(extent, n_bytes, lambda position: only_tags_follow(file, position, n_bytes))
    return replace(extent, stop=extent.start + extent.held)


def _voc(file: BinaryIO, head: bytes) -> Extent:
    """Walk the blocks of a VOC, each of up to 16 MiB."""
    n_bytes = file.seek(0, 2)
    (position,) = struct.unpack("<H", head[20:22].ljust(2, b"\0"))
    sound = Extent(position, 0, 0, parts=0)
    for _ in range(_MOST_BLOCKS):
        file.seek(position)
        block = file.read(16)
        kind, size = block[0] if block else _VOC_END, int.from_bytes(block[1:4], "little")
        if kind == _VOC_END or kind > _VOC_LAST_TYPE:
            position += kind == _VOC_END
            break
        if kind in (_VOC_SILENCE, _VOC_REPEAT):
            detail = "a VOC file with blocks of silence or repetition"
            raise BrokenFile("unsupported_codec", detail)
        position += 4
        if kind in _VOC_HEADER_BYTES:
            sound = _with_block(sound, block.ljust(16, b"\0"), size, n_bytes - position)
        position += size
    if position < n_bytes and not only_tags_follow(file, position, n_bytes):
        return replace(sound, held=sound.held + n_bytes - position)
    return replace(sound, stop=position)


def _with_block(sound: Extent, block: bytes, size: int, left: int) -> Extent:
    """Add a block of sound, of which the file has `left` bytes."""
    header_bytes = _VOC_HEADER_BYTES[block[0]]
    said, held = max(0, size - header_bytes), max(0, min(size, left) - header_bytes)
    sound = replace(sound, said=sound.said + said, held=sound.held + held, parts=sound.parts + 1)
    if sound.frame_bytes or block[0] == 2:
        return sound
    rate_hz, channels, codec = 1e6 / (256 - block[4]), 1, block[5]
    if block[0] == 9:
        rate_hz, _, channels, codec = struct.unpack("<IBBH", block[4:12])
    frame_bytes = channels * _VOC_SAMPLE_BYTES.get(codec, 0)
    return replace(sound, frame_bytes=frame_bytes, rate_hz=rate_hz)
