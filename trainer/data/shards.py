"""Strips from shards: damage is counted and skipped up to a budget, and never without its place."""

import contextlib
import logging
import threading
from collections.abc import Iterator

import tensorflow as tf
from google.protobuf.message import DecodeError

# TFRecordDataset names no offset, reads nothing after a damaged record, and takes 10 ms to open
from tensorflow.python.lib.io._pywrap_record_io import RandomRecordReader, RecordIterator

from beam_features.schema.strip import Strip, decode_strip
from dem.errors import InputError, JobError
from trainer.runtime.tensorflow_files import reading

_LOG = logging.getLogger(__name__)

_LENGTH_BYTES, _FRAME_BYTES = 8, 16  # of a TFRecord: its length, and all that is not data


class CorruptRecords:
    """Places of damage found so far; as many as the budget are skipped, one more is an error.

    Shards are read by several threads, and on every pass again; a place counts once.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._places: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        self.error: JobError | None = None  # ended the reading; tf.data passes on none of ours

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._places)

    def add(self, uri: str, offset: int, reason: str) -> None:
        """Note a damaged record and warn of it.

        Raises:
            JobError: there are more than the budget.
        """
        with self._lock:
            if (uri, offset) in self._places:
                return
            self._places.add((uri, offset))
            place = f"corrupt record in {uri} at byte {offset}: {reason}"
            if self.count > self._budget:
                raise JobError(
                    f"{place}; {self.count} are more than corrupt_records_budget={self._budget}: "
                    "make the features again, or raise it"
                )
            _LOG.warning(f"skipped {place}")


def read_strips(uri: str, tile_shape: tuple[int, int], corrupt: CorruptRecords) -> Iterator[Strip]:
    """All strips of a shard that can be read, in order.

    Raises:
        JobError: more records are damaged than `corrupt` allows, or the storage fails.
    """
    try:
        with reading(uri):
            for offset, record in _read_records(uri, corrupt):
                try:
                    strip = decode_strip(record, tile_shape)
                except (DecodeError, IndexError, InputError, ValueError) as error:
                    corrupt.add(uri, offset, " ".join(str(error).split()) or type(error).__name__)
                else:
                    yield strip
    except JobError as error:
        corrupt.error = error
        raise


def _read_records(uri: str, corrupt: CorruptRecords) -> Iterator[tuple[int, bytes]]:
    """Offsets and records whose checksums are right."""
    offset = 0
    with contextlib.suppress(tf.errors.DataLossError):
        for record in RecordIterator(uri, ""):
            yield offset, record
            offset += len(record) + _FRAME_BYTES
    yield from _read_on(uri, offset, corrupt)


def _read_on(uri: str, offset: int, corrupt: CorruptRecords) -> Iterator[tuple[int, bytes]]:
    """Go on where TensorFlow's iteration ended: at a damaged record, with the one after it.

    Where the damage is in a record's length, nothing after it is found, and it may count twice. A
    file cut off within a length ends without an error, so its size is compared.
    """
    size = tf.io.gfile.stat(uri).length
    if offset == size:
        return
    reader = RandomRecordReader(uri)
    while offset < size:
        try:
            record, following = reader.read(offset)
        except (tf.errors.DataLossError, IndexError) as error:
            corrupt.add(uri, offset, str(error))
            offset += _length_at(uri, offset) + _FRAME_BYTES
        else:
            yield offset, record
            offset = following


def _length_at(uri: str, offset: int) -> int:
    with tf.io.gfile.GFile(uri, "rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(_LENGTH_BYTES), "little")
