"""Framing of TFRecord files, without TensorFlow.

Format: length as uint64, masked CRC-32C of the length, data, masked CRC-32C of the data, all little
endian; see https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details.
"""

import struct

import google_crc32c

_MASK_DELTA = 0xA282EAD8


def frame_record(data: bytes) -> bytes:
    """Frame one serialised record, to be appended to a TFRecord file."""
    length = struct.pack("<Q", len(data))
    return b"".join(
        (length, struct.pack("<I", _masked_crc(length)), data, struct.pack("<I", _masked_crc(data)))
    )


def _masked_crc(data: bytes) -> int:
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF
