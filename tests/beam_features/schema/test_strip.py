"""The record round-trips through TensorFlow's own `Example` and through our parser."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.strip import SCHEMA_VERSION, Strip, decode_strip, encode_strip
from dem.errors import InputError

TILE_SHAPE = (4, 5)


@pytest.fixture
def strip() -> Strip:
    rng = np.random.default_rng(0)
    return Strip(
        context_id="Ænima/01 [live]",
        session_id="artist",
        sensor_id="node1",
        first_tile=128,
        log_mel=rng.normal(-6, 3, (3, *TILE_SHAPE)).astype(np.float16),
        recording_ids=("a.wav", "a.wav", "b é.wav"),
        start_ms=(0, 1000, 0),
        labels=(2, 2, -1),
    )


def assert_equal(left: Strip, right: Strip) -> None:
    """Compare field by field; the tiles bit by bit."""
    left_values, right_values = vars(left) | {"log_mel": 0}, vars(right) | {"log_mel": 0}
    assert left_values == right_values
    assert left.log_mel.dtype == right.log_mel.dtype
    np.testing.assert_array_equal(left.log_mel, right.log_mel)


def test_tensorflow_reads_every_key_with_its_type(strip):
    feature = tf.train.Example.FromString(encode_strip(strip)).features.feature
    assert {key: value.WhichOneof("kind") for key, value in feature.items()} == {
        "schema_version": "int64_list",
        "context_id": "bytes_list",
        "session_id": "bytes_list",
        "sensor_id": "bytes_list",
        "first_tile": "int64_list",
        "log_mel": "bytes_list",
        "recording_id": "bytes_list",
        "start_ms": "int64_list",
        "label": "int64_list",
    }
    assert list(feature["schema_version"].int64_list.value) == [SCHEMA_VERSION] == [1]
    assert list(feature["context_id"].bytes_list.value) == ["Ænima/01 [live]".encode()]
    assert list(feature["session_id"].bytes_list.value) == [b"artist"]
    assert list(feature["sensor_id"].bytes_list.value) == [b"node1"]
    assert list(feature["first_tile"].int64_list.value) == [128]
    assert list(feature["log_mel"].bytes_list.value) == [strip.log_mel.astype("<f2").tobytes()]
    assert list(feature["recording_id"].bytes_list.value) == [
        b"a.wav",
        b"a.wav",
        "b é.wav".encode(),
    ]
    assert list(feature["start_ms"].int64_list.value) == [0, 1000, 0]
    assert list(feature["label"].int64_list.value) == [2, 2, -1]


def test_bytes_are_those_of_tensorflow(strip):
    """So equal strips give equal bytes, whichever process wrote them."""
    encoded = encode_strip(strip)
    example = tf.train.Example.FromString(encoded)
    assert encoded == encode_strip(strip) == example.SerializeToString(deterministic=True)


def test_decode_strip_restores_the_original(strip):
    assert_equal(decode_strip(encode_strip(strip), TILE_SHAPE), strip)


def test_decode_strip_restores_tiles_that_are_not_contiguous(strip):
    reversed_tiles = dataclasses.replace(strip, log_mel=strip.log_mel[::-1, :, ::-1])
    assert_equal(decode_strip(encode_strip(reversed_tiles), TILE_SHAPE), reversed_tiles)


def test_tiles_of_another_shape_are_refused(strip):
    message = r"record has 60 log-mel values, expected \(3, 4, 6\)"
    with pytest.raises(InputError, match=message):
        decode_strip(encode_strip(strip), (4, 6))


def test_another_schema_version_is_refused(strip):
    example = tf.train.Example.FromString(encode_strip(strip))
    example.features.feature["schema_version"].int64_list.value[0] = 99
    with pytest.raises(InputError, match="record has schema version 99, expected 1"):
        decode_strip(example.SerializeToString(), TILE_SHAPE)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("recording_ids", ("a.wav",) * 2),
        ("start_ms", (0,) * 4),
        ("labels", ()),
        ("log_mel", np.zeros((2, *TILE_SHAPE), np.float16)),
    ],
)
def test_columns_of_unequal_length_are_refused(strip, column, value):
    lengths = sorted({3, len(value)})
    with pytest.raises(ValueError, match="per-tile columns of a strip differ in length") as refusal:
        dataclasses.replace(strip, **{column: value})
    assert str(refusal.value).endswith(str(lengths))
