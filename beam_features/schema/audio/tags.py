"""Tags before and behind the audio of a file: ID3, APE, Lyrics3. Pure functions of bytes."""

from typing import BinaryIO

_LONGEST_TAGS = 1 << 24  # bytes; a picture is in them
_LONGEST_PADDING = 1 << 16  # bytes of zeros; more may be silence that was recorded


def length_of_id3(head: bytes) -> int:
    """Give the bytes of the ID3v2 tag that `head` begins with, 0 if there is none."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)  # a footer


def start_of_audio(file: BinaryIO) -> int:
    """Give the position behind the ID3v2 tags at the beginning of a file."""
    position = 0
    while True:
        file.seek(position)
        if not (length := length_of_id3(file.read(10))):
            return position
        position += length


def only_tags_follow(file: BinaryIO, position: int, end: int) -> bool:
    """Whether the bytes from `position` to `end` are tags, or padding of a disk block."""
    if end - position > _LONGEST_TAGS:
        return False
    file.seek(position)
    return not without_tags(file.read(max(0, end - position)))


def without_tags(data: bytes) -> bytes:
    """Strip all tags and zeros from what follows the audio."""
    while True:
        rest = _without_last(data)[length_of_id3(data[:10]) :]
        if len(rest) == len(data):
            return b"" if len(data) <= _LONGEST_PADDING and not data.strip(b"\0") else data
        data = rest


def _without_last(data: bytes) -> bytes:
    """Strip the tag that the bytes end with."""
    if data[-128:-125] == b"TAG":  # ID3v1
        return data[:-128]
    if data[-227:-223] == b"TAG+":
        return data[:-227]
    if data[-32:-24] == b"APETAGEX":
        has_header = data[-9] & 0x80
        size = int.from_bytes(data[-20:-16], "little") + (32 if has_header else 0)
        return data[: max(0, len(data) - max(size, 32))]
    if data.endswith(b"LYRICS200") and data[-15:-9].isdigit():
        return data[: max(0, len(data) - 15 - int(data[-15:-9]))]
    return data
