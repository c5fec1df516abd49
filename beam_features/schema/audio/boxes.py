"""The outermost objects of MPEG-4, Matroska and ASF: one that is cut, or a second file."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from beam_features.schema.audio.files import BrokenFile

_EBML = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_ASF_HEADER = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_ASF_OBJECTS = (  # header, data, and indices
    *(_ASF_HEADER, b"\x36\x26\xb2\x75\x8e\x66\xcf\x11", b"\x90\x08\x00\x33\xb1\xe5\xcf\x11"),
    *(b"\xd3\x29\xe2\xd6\xda\x35\xd1\x11", b"\xf8\x03\xb1\xfe\xad\x12\x64\x4c"),
)
_BOXES = (  # outermost ones of MPEG-4
    *(b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pnot", b"udta", b"meta"),
    *(b"moof", b"mfra", b"sidx", b"styp", b"emsg", b"prft", b"ssix", b"pdin", b"junk"),
)
_MOST_BOXES = 1_000_000  # of the smallest size, a large file would take minutes


@dataclass(frozen=True)
class _Object:
    name: bytes
    start: int  # of its header
    size: int  # with its header


def check(file: BinaryIO) -> str | None:
    """Reject a file whose last object is cut, or that consists of several files.

    Returns:
        The name of the format, None if it is another.

    Raises:
        BrokenFile: with the numbers of bytes, or of files.
    """
    n_bytes = file.seek(0, 2)
    file.seek(0)
    head = file.read(16)
    if head[:4] == _EBML:
        walk, first, name = _matroska(file, n_bytes), _EBML, "Matroska"
    elif head[:8] == _ASF_HEADER:
        walk, first, name = _asf(file, n_bytes), _ASF_HEADER, "ASF"
    elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        walk, first, name = _mpeg4(file, n_bytes), b"moov", "MPEG-4"
    else:
        return None
    n_files = 0
    for one in walk:
        n_files += one.name == first
        if one.start + one.size > n_bytes:
            detail = (
                f"a part of the {name} file should have {one.size} bytes, "
                f"{n_bytes - one.start} follow"
            )
            raise BrokenFile("truncated", detail)
    if n_files > 1:
        detail = f"{n_files} {name} files were joined, of which decoders read the first"
        raise BrokenFile("unknown_length", detail)
    return name


def _mpeg4(file: BinaryIO, n_bytes: int) -> Iterator[_Object]:
    position = 0
    for _ in range(_MOST_BOXES):
        if position >= n_bytes:
            return
        file.seek(position)
        header = file.read(16)
        size, name = int.from_bytes(header[:4], "big"), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:], "big")
        if name not in _BOXES or 0 < size < 8:
            return
        yield _Object(name, position, size or n_bytes - position)
        position += size or n_bytes


def _asf(file: BinaryIO, n_bytes: int) -> Iterator[_Object]:
    position = 0
    while position + 24 <= n_bytes:
        file.seek(position)
        header = file.read(24)
        size = int.from_bytes(header[16:], "little")
        if header[:8] not in _ASF_OBJECTS or size < 24:  # a tag, or the data of a live stream
            return
        yield _Object(header[:8], position, size)
        position += size


def _matroska(file: BinaryIO, n_bytes: int) -> Iterator[_Object]:
    position = 0
    while position < n_bytes:
        file.seek(position)
        header = file.read(12)
        name = header[:4]
        if name not in (_EBML, _SEGMENT) or len(header) < 5 or not header[4]:
            return
        width = 9 - header[4].bit_length()  # of the size
        size = int.from_bytes(header[4 : 4 + width], "big") & (1 << 7 * width) - 1
        if size == (1 << 7 * width) - 1:  # not known, up to the end
            return
        yield _Object(name, position, 4 + width + size)
        position += 4 + width + size
