"""Shards as columns: the strips of a shard side by side, without Python code per record.

A shard is parsed in one call of TensorFlow. One that does not parse completely is read again record
by record by `trainer.data.shards`, which names what is corrupt.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_features.schema.strip import (
    LOG_MEL_DTYPE,
    SCHEMA_VERSION,
    STRIP_FIELDS,
    TILE_FIELDS,
    Strip,
)
from dem import storage
from trainer.data.shards import FRAME_BYTES, CorruptRecords, read_strips

_TYPES = {int: tf.int64, bytes: tf.string}
_READ_BYTES = 2**22
_ALL = 2**31 - 1  # records of a shard

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Coded:
    """Names as numbers: the i-th is ``names[codes[i]]``."""

    names: tuple[str, ...]
    codes: npt.NDArray[np.int32]

    @classmethod
    def of(cls, values: Sequence[str]) -> Self:
        """Number names by first appearance."""
        numbers = {name: number for number, name in enumerate(dict.fromkeys(values))}
        return cls(tuple(numbers), np.array([numbers[name] for name in values], np.int32))

    @classmethod
    def join(cls, parts: Sequence["Coded"]) -> Self:
        """Concatenate; a name has the same number in all parts."""
        numbers: dict[str, int] = {}
        codes = [np.empty(0, np.int32)]
        for part in parts:
            own = [numbers.setdefault(name, len(numbers)) for name in part.names]
            codes.append(np.array(own, np.int32)[part.codes])
        return cls(tuple(numbers), np.concatenate(codes))

    def take(self, rows: npt.NDArray[np.integer] | slice) -> "Coded":
        """The same for some rows; no name is dropped."""
        return Coded(self.names, self.codes[rows])

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.codes)

    def as_list(self) -> list[str]:
        """The names, one per row."""
        return [self.names[code] for code in self.codes.tolist()]


@dataclass(frozen=True)
class Columns:
    """Strips of a shard, concatenated.

    Attributes:
        log_mel: float16 ``[n_tiles, tile_frames, n_mels]``.
        loudest: the highest value of each frame, float16 ``[n_tiles, tile_frames]``.
        recordings: per tile.
        start_ms: per tile, in its recording.
        labels: per tile.
        n_tiles: per strip.
        first_tile: per strip, in the timeline of its context.
        contexts: per strip, like sessions and sensors.
    """

    log_mel: npt.NDArray[np.float16]
    loudest: npt.NDArray[np.float16]
    recordings: Coded
    start_ms: Int64
    labels: Int64
    n_tiles: Int64
    first_tile: Int64
    contexts: Coded
    sessions: Coded
    sensors: Coded

    @classmethod
    def of(cls, strips: Sequence[Strip], tile_shape: tuple[int, int]) -> Self:
        """Concatenate strips that were read one by one."""
        empty = np.empty((0, *tile_shape), LOG_MEL_DTYPE)
        log_mel = np.concatenate([empty, *(strip.log_mel for strip in strips)])
        return cls(
            log_mel=log_mel,
            loudest=log_mel.max(axis=2),
            recordings=Coded.of([name for strip in strips for name in strip.recording_ids]),
            start_ms=np.array([start for strip in strips for start in strip.start_ms], np.int64),
            labels=np.array([label for strip in strips for label in strip.labels], np.int64),
            n_tiles=np.array([len(strip.labels) for strip in strips], np.int64),
            first_tile=np.array([strip.first_tile for strip in strips], np.int64),
            contexts=Coded.of([strip.context_id for strip in strips]),
            sessions=Coded.of([strip.session_id for strip in strips]),
            sensors=Coded.of([strip.sensor_id for strip in strips]),
        )

    @property
    def strip_of_tile(self) -> Int64:
        """Per tile, the number of its strip."""
        return np.repeat(np.arange(len(self.n_tiles)), self.n_tiles)


def read_columns(
    uris: Sequence[str],
    tile_shape: tuple[int, int],
    corrupt: CorruptRecords,
    *,
    parallel: int = 1,
) -> Iterator[Columns]:
    """Read shards, in order.

    Args:
        uris: of the shards.
        tile_shape: ``(tile_frames, n_mels)``.
        corrupt: records that are skipped.
        parallel: how many shards are read at the same time; each takes some three times its size
            in memory.

    Raises:
        JobError: more records are corrupt than `corrupt` allows, or the storage fails.
    """
    if not uris:
        return
    sizes = storage.file_versions(uris)
    parse = tf.autograph.experimental.do_not_convert(  # nothing to convert, and it takes 0.3 s
        functools.partial(_parse_shard, tile_shape=tile_shape)
    )
    shards = iter(tf.data.Dataset.from_tensor_slices(list(uris)).map(parse, parallel))
    for uri in uris:
        columns = _take(shards, sizes[uri].bytes if uri in sizes else -1)
        yield columns or Columns.of(list(read_strips(uri, tile_shape, corrupt)), tile_shape)


def blocks_of(n_tiles: Int64, size: int) -> Iterator[slice]:
    """Slices of tiles that hold whole strips, of `n_tiles` each: `size` tiles or a few more."""
    begin, ends = 0, np.cumsum(n_tiles)
    for end in ends.tolist():
        if end - begin >= size or begin < end == ends[-1]:
            yield slice(begin, end)
            begin = end


def _take(shards: Iterator[dict[str, Any]], size: int) -> Columns | None:
    """Take the next shard; None if it is not complete, or not as expected."""
    try:
        shard = next(shards)
        if int(shard["bytes"]) != size:  # TensorFlow takes a file that ends in a length for whole
            return None
        coded: dict[str, Any] = {
            name: Coded(
                tuple(value.decode() for value in shard[f"{name}_names"].numpy()),
                shard[f"{name}_codes"].numpy(),
            )
            for name in ("recordings", "contexts", "sessions", "sensors")
        }
    except (tf.errors.OpError, UnicodeDecodeError):
        return None
    plain = ("log_mel", "loudest", "start_ms", "labels", "n_tiles", "first_tile")
    arrays: dict[str, Any] = {name: np.asarray(memoryview(shard[name])) for name in plain}
    return Columns(**arrays, **coded)  # .numpy() would copy


def _parse_shard(uri: tf.Tensor, tile_shape: tuple[int, int]) -> dict[str, tf.Tensor]:
    """Parse a shard in TensorFlow; anything unexpected is an error."""
    file = tf.data.TFRecordDataset(uri, buffer_size=_READ_BYTES)
    records = file.batch(_ALL).get_single_element()
    fields = {key: tf.io.FixedLenFeature([], _TYPES[kind]) for key, kind in STRIP_FIELDS.items()}
    lists = {
        key: tf.io.RaggedFeature(_TYPES[kind], row_splits_dtype=tf.int64)
        for key, kind in TILE_FIELDS.items()
    }
    parsed = tf.io.parse_example(records, fields | lists)
    n_tiles = parsed["recording_id"].row_lengths()
    tile_bytes = tile_shape[0] * tile_shape[1] * LOG_MEL_DTYPE.itemsize
    expected = {
        "schema_version": (parsed["schema_version"], tf.constant(SCHEMA_VERSION, tf.int64)),
        "log_mel": (_byte_lengths(parsed["log_mel"]), n_tiles * tile_bytes),
        "start_ms": (parsed["start_ms"].row_lengths(), n_tiles),
        "label": (parsed["label"].row_lengths(), n_tiles),
    }
    checks = [tf.debugging.assert_equal(*pair, key) for key, pair in expected.items()]
    with tf.control_dependencies(checks):
        joined = tf.strings.reduce_join(parsed["log_mel"])
    log_mel = tf.reshape(tf.io.decode_raw(joined, tf.float16), [-1, *tile_shape])
    names = {
        "recordings": parsed["recording_id"].values,
        "contexts": parsed["context_id"],
        "sessions": parsed["session_id"],
        "sensors": parsed["sensor_id"],
    }
    coded = {name: tf.unique(values) for name, values in names.items()}
    return {
        "bytes": tf.reduce_sum(_byte_lengths(records) + FRAME_BYTES),
        "log_mel": log_mel,
        "loudest": tf.reduce_max(log_mel, axis=2),
        "start_ms": parsed["start_ms"].values,
        "labels": parsed["label"].values,
        "n_tiles": n_tiles,
        "first_tile": parsed["first_tile"],
        **{f"{name}_names": unique.y for name, unique in coded.items()},
        **{f"{name}_codes": unique.idx for name, unique in coded.items()},
    }


def _byte_lengths(texts: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(texts, unit="BYTE"), tf.int64)
