"""Framing of TFRecord files, without TensorFlow.

Format: length as uint64, masked CRC-32C of the length, data, masked CRC-32C of the data, all little
endian; see https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_CRC_BYTES = 4
_HEADER_BYTES = 8 + _CRC_BYTES


def frame_record(data: bytes) -> bytes:
    """Frame one serialised record, to be appended to a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", _masked_crc(length)), data, struct.pack("<I", _masked_crc(data)))
    )


def read_records(file: BinaryIO) -> Iterator[bytes]:
    """Yield the serialised records of a TFRecord file.

    Raises:
        ValueError: a checksum does not match, or the file ends within a record.
    """
    while header := file.read(_HEADER_BYTES):
        _check(header, _HEADER_BYTES)
        (length,) = struct.unpack_from("<Q", header)
        framed = file.read(length + _CRC_BYTES)
        _check(framed, length + _CRC_BYTES)
        yield framed[:-_CRC_BYTES]


def _check(framed: bytes, size: int) -> None:
    data, crc = framed[:-_CRC_BYTES], framed[-_CRC_BYTES:]
    if len(framed) < size or struct.pack("<I", _masked_crc(data)) != crc:
        raise ValueError("corrupt record")


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
