"""Tags before and behind the audio of a file: ID3, APE and Lyrics3."""

from typing import BinaryIO

_LONGEST_TAGS = 1 << 24  # bytes; a picture is in them
_LONGEST_PADDING = 1 << 12  # bytes of zeros; more may be silence that was recorded
_APE = b"APETAGEX"
_TAIL_BYTES = 227  # in which the last tag shows what it is


def length_of_id3(head: bytes) -> int:
    """Give the bytes of the ID3v2 tag that `head` begins with, 0 if there is none."""
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return 10 + size + (10 if head[5] & 0x10 else 0)  # a footer


def length_of_tag(data: bytes) -> int:
    """Give the bytes of the tag that `data` begins with, 0 if there is none."""
    if data[:4] == b"TAG+":
        return 227
    if data[:3] == b"TAG":  # ID3v1
        return 128
    if data[:8] == _APE and len(data) >= 32:
        is_header = data[23] & 0x20
        return 32 + (int.from_bytes(data[12:16], "little") if is_header else 0)
    return length_of_id3(data)


def length_of_last_tag(data: bytes) -> int:
    """Give the bytes of the tag that `data` ends with, 0 if there is none."""
    if data[-128:-125] == b"TAG":  # ID3v1
        return 128
    if data[-227:-223] == b"TAG+":
        return 227
    if data[-32:-24] == _APE:
        has_header = data[-9] & 0x80
        return max(32, int.from_bytes(data[-20:-16], "little") + (32 if has_header else 0))
    if data[-9:] == b"LYRICS200" and data[-15:-9].isdigit():
        return 15 + int(data[-15:-9])
    return 0


def start_of_audio(file: BinaryIO) -> int:
    """Give the position behind the ID3v2 tags at the beginning of a file."""
    position = 0
    while True:
        file.seek(position)
        if not (length := length_of_id3(file.read(10))):
            return position
        position += length


def end_of_audio(file: BinaryIO) -> int:
    """Give the position before the tags at the end of a file."""
    position = file.seek(0, 2)
    while True:
        file.seek(max(0, position - _TAIL_BYTES))
        tail = file.read(min(position, _TAIL_BYTES))
        length = length_of_last_tag(tail)
        if not 0 < length < position:
            return position
        if tail[-32:-24] == _APE:  # some have a footer alone
            file.seek(position - length)
            length = length if file.read(8) == _APE or not tail[-9] & 0x80 else 32
        position -= length


def only_tags_follow(file: BinaryIO, position: int, end: int) -> bool:
    """Whether the bytes from `position` to `end` are tags, or padding of a disk block."""
    if end - position > _LONGEST_TAGS:
        return False
    file.seek(position)
    return not without_tags(file.read(max(0, end - position)))


def without_tags(data: bytes) -> bytes:
    """Strip all tags, or zeros, from what follows the audio."""
    while True:
        rest = data[length_of_tag(data[:32]) :]
        rest = rest[: max(0, len(rest) - length_of_last_tag(rest[-_TAIL_BYTES:]))]
        if len(rest) == len(data):
            return data if len(data) > _LONGEST_PADDING else data.lstrip(b"\0")
        data = rest
