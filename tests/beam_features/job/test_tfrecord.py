"""TFRecord framing without TensorFlow, held against TensorFlow's own writer and reader."""

import io

import numpy as np
import pytest
import tensorflow as tf

from beam_features.job.tfrecord import frame_record, read_records

RECORDS = [b"", b"a", np.random.default_rng(0).bytes(100_000)]


def test_file_is_byte_identical_to_tensorflows(tmp_path):
    path = str(tmp_path / "reference.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    assert b"".join(map(frame_record, RECORDS)) == (tmp_path / "reference.tfrecord").read_bytes()


def test_tensorflow_reads_the_records(tmp_path):
    path = tmp_path / "ours.tfrecord"
    path.write_bytes(b"".join(map(frame_record, RECORDS)))
    assert list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()) == RECORDS


@pytest.mark.parametrize("position", [0, 8, 12, -1], ids=["length", "its crc", "data", "data crc"])
def test_checksums_reveal_a_flipped_bit(tmp_path, position):
    framed = bytearray(frame_record(b"log-mel"))
    framed[position] ^= 1
    path = tmp_path / "flipped.tfrecord"
    path.write_bytes(framed)
    with pytest.raises(tf.errors.DataLossError, match="corrupted record"):
        list(tf.data.TFRecordDataset(str(path)))


def test_records_are_read_without_tensorflow():
    assert list(read_records(io.BytesIO(b"".join(map(frame_record, RECORDS))))) == RECORDS


@pytest.mark.parametrize("position", [0, 8, 12, -1], ids=["length", "its crc", "data", "data crc"])
def test_a_flipped_bit_is_an_error(position):
    framed = bytearray(frame_record(b"log-mel"))
    framed[position] ^= 1
    with pytest.raises(ValueError, match="corrupt record"):
        list(read_records(io.BytesIO(framed)))


@pytest.mark.parametrize("length", [3, 8, 12, 15, 22])
def test_a_truncated_record_is_an_error(length):
    with pytest.raises(ValueError, match="corrupt record"):
        list(read_records(io.BytesIO(frame_record(b"log-mel")[:length])))
