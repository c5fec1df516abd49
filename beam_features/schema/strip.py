"""The record: a strip of consecutive tiles of one context as a ``tf.train.Example``.

Writer and reader stand side by side. The writer needs no TensorFlow: `Example` is declared here in
a private descriptor pool, in the wire format of tensorflow/core/example/{example,feature}.proto.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from dem.errors import InputError

SCHEMA_VERSION = 1
NO_LABEL = -1
LOG_MEL_DTYPE = np.dtype("<f2")


@dataclass(frozen=True, eq=False)
class Strip:
    """Consecutive tiles of one context.

    Attributes:
        context_id: the timeline in which nearness in time means likeness.
        session_id: what must not be used as an opposite of itself.
        sensor_id: node or channel that heard it.
        first_tile: index of the first tile in the context's timeline.
        log_mel: float16 ``[n_tiles, tile_frames, n_mels]``.
        recording_ids: per tile, the recording it comes from.
        start_ms: per tile, where it starts in its recording.
        labels: per tile, index into the label names, or `NO_LABEL`.
    """

    context_id: str
    session_id: str
    sensor_id: str
    first_tile: int
    log_mel: npt.NDArray[np.float16]
    recording_ids: tuple[str, ...]
    start_ms: tuple[int, ...]
    labels: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse a strip whose per-tile columns differ in length."""
        lengths = {
            len(self.log_mel),
            len(self.recording_ids),
            len(self.start_ms),
            len(self.labels),
        }
        if len(lengths) != 1:
            raise ValueError(f"per-tile columns of a strip differ in length: {sorted(lengths)}")


def encode_strip(strip: Strip) -> bytes:
    """Serialise a strip; equal strips give equal bytes."""
    example = _Example()
    feature = example.features.feature
    feature["schema_version"].int64_list.value.append(SCHEMA_VERSION)
    feature["context_id"].bytes_list.value.append(strip.context_id.encode())
    feature["session_id"].bytes_list.value.append(strip.session_id.encode())
    feature["sensor_id"].bytes_list.value.append(strip.sensor_id.encode())
    feature["first_tile"].int64_list.value.append(strip.first_tile)
    log_mel = np.ascontiguousarray(strip.log_mel, LOG_MEL_DTYPE)
    feature["log_mel"].bytes_list.value.append(log_mel.tobytes())
    feature["recording_id"].bytes_list.value.extend(name.encode() for name in strip.recording_ids)
    feature["start_ms"].int64_list.value.extend(strip.start_ms)
    feature["label"].int64_list.value.extend(strip.labels)
    serialized: bytes = example.SerializeToString(deterministic=True)
    return serialized


def decode_strip(serialized: bytes, tile_shape: tuple[int, int]) -> Strip:
    """Parse a record with NumPy alone.

    Raises:
        InputError: the record has another schema version or does not fit `tile_shape`.
    """
    feature = _Example.FromString(serialized).features.feature
    version = feature["schema_version"].int64_list.value[0]
    if version != SCHEMA_VERSION:
        raise InputError(f"record of schema version {version}, this code reads {SCHEMA_VERSION}")
    tiles = np.frombuffer(feature["log_mel"].bytes_list.value[0], LOG_MEL_DTYPE)
    recording_ids = tuple(name.decode() for name in feature["recording_id"].bytes_list.value)
    shape = (len(recording_ids), *tile_shape)
    if tiles.size != np.prod(shape):
        raise InputError(f"record holds {tiles.size} log-mel values, tiles of {shape} expected")
    return Strip(
        context_id=feature["context_id"].bytes_list.value[0].decode(),
        session_id=feature["session_id"].bytes_list.value[0].decode(),
        sensor_id=feature["sensor_id"].bytes_list.value[0].decode(),
        first_tile=feature["first_tile"].int64_list.value[0],
        log_mel=tiles.reshape(shape),
        recording_ids=recording_ids,
        start_ms=tuple(feature["start_ms"].int64_list.value),
        labels=tuple(feature["label"].int64_list.value),
    )


def _example_class() -> Any:
    """Declare Example, Features, Feature and its three lists in a pool of our own."""
    file = descriptor_pb2.FileDescriptorProto(
        name="deep_embedded_music/example.proto", package="deep_embedded_music", syntax="proto3"
    )
    field = descriptor_pb2.FieldDescriptorProto
    repeated, optional = field.LABEL_REPEATED, field.LABEL_OPTIONAL

    for name, kind in (
        ("BytesList", field.TYPE_BYTES),
        ("FloatList", field.TYPE_FLOAT),
        ("Int64List", field.TYPE_INT64),
    ):
        values = file.message_type.add(name=name)
        values.field.add(name="value", number=1, type=kind, label=repeated)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("BytesList", "FloatList", "Int64List"), start=1):
        feature.field.add(
            name=name.removesuffix("List").lower() + "_list",
            number=number,
            type=field.TYPE_MESSAGE,
            type_name=f".deep_embedded_music.{name}",
            label=optional,
            oneof_index=0,
        )

    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=field.TYPE_STRING, label=optional)
    entry.field.add(
        name="value",
        number=2,
        type=field.TYPE_MESSAGE,
        type_name=".deep_embedded_music.Feature",
        label=optional,
    )
    features.field.add(
        name="feature",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".deep_embedded_music.Features.FeatureEntry",
        label=repeated,
    )

    example = file.message_type.add(name="Example")
    example.field.add(
        name="features",
        number=1,
        type=field.TYPE_MESSAGE,
        type_name=".deep_embedded_music.Features",
        label=optional,
    )

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("deep_embedded_music.Example")
    return message_factory.GetMessageClass(descriptor)


_Example = _example_class()
