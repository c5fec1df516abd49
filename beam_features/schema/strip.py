"""The record: a strip of consecutive tiles of one context as a ``tf.train.Example``.

Encoder and decoder need no TensorFlow: `Example` is declared here in a private descriptor pool, in
the wire format of tensorflow/core/example/{example,feature}.proto.
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
STRIP_FIELDS = {
    "schema_version": int,
    "context_id": bytes,
    "session_id": bytes,
    "sensor_id": bytes,
    "first_tile": int,
    "log_mel": bytes,
}
"""Keys of a record that hold one value, and its type."""
TILE_FIELDS = {"recording_id": bytes, "start_ms": int, "label": int}
"""Keys of a record that hold one value per tile."""


@dataclass(frozen=True, eq=False)
class Strip:
    """Consecutive tiles of one context.

    Attributes:
        context_id: the timeline in which tiles near in time are assumed to be similar.
        session_id: tiles of one session are never opposites of each other.
        sensor_id: node or channel that recorded it.
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


def channel_context(context_id: str, channel: int) -> str:
    """Name the context of one channel, where each channel is a sensor of its own."""
    return f"{context_id}#channel{channel}"


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
    """Parse a record, without TensorFlow.

    Raises:
        InputError: the record has another schema version or does not fit `tile_shape`.
    """
    feature = _Example.FromString(serialized).features.feature
    version = feature["schema_version"].int64_list.value[0]
    if version != SCHEMA_VERSION:
        raise InputError(f"record has schema version {version}, expected {SCHEMA_VERSION}")
    tiles = np.frombuffer(feature["log_mel"].bytes_list.value[0], LOG_MEL_DTYPE)
    recording_ids = tuple(name.decode() for name in feature["recording_id"].bytes_list.value)
    shape = (len(recording_ids), *tile_shape)
    if tiles.size != np.prod(shape):
        raise InputError(f"record has {tiles.size} log-mel values, expected {shape}")
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
    """Declare Example, Features, Feature and its three lists in a private pool."""
    package = "deep_embedded_music"
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}/example.proto", package=package, syntax="proto3"
    )

    def declare(parent: Any, name: str, number: int, message: str, **options: Any) -> None:
        options = {"label": kind.LABEL_OPTIONAL} | options
        type_name = f".{package}.{message}"
        parent.field.add(
            name=name, number=number, type=kind.TYPE_MESSAGE, type_name=type_name, **options
        )

    feature = descriptor_pb2.DescriptorProto(name="Feature")
    feature.oneof_decl.add(name="kind")
    types = {"bytes": kind.TYPE_BYTES, "float": kind.TYPE_FLOAT, "int64": kind.TYPE_INT64}
    for number, (name, type_) in enumerate(types.items(), start=1):
        values = file.message_type.add(name=f"{name.title()}List")
        values.field.add(name="value", number=1, type=type_, label=kind.LABEL_REPEATED)
        declare(feature, f"{name}_list", number, values.name, oneof_index=0)
    features = descriptor_pb2.DescriptorProto(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kind.TYPE_STRING, label=kind.LABEL_OPTIONAL)
    declare(entry, "value", 2, "Feature")
    declare(features, "feature", 1, "Features.FeatureEntry", label=kind.LABEL_REPEATED)
    example = descriptor_pb2.DescriptorProto(name="Example")
    declare(example, "features", 1, "Features")
    file.message_type.extend([feature, features, example])

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.Example"))


_Example = _example_class()
