"""Strips from shards: corrupt records are skipped up to a budget, and each is reported."""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence

import tensorflow as tf
from google.protobuf.message import DecodeError

# TFRecordDataset has no offsets, reads nothing after a corrupt record, and takes 10 ms to open
from tensorflow.python.lib.io._pywrap_record_io import RandomRecordReader, RecordIterator

from beam_features.schema.strip import Strip, decode_strip
from dem.errors import InputError, JobError
from trainer.runtime.tensorflow_files import reading

_LOG = logging.getLogger(__name__)

_LENGTH_BYTES = 8
FRAME_BYTES = 16
"""Of a TFRecord: its length and checksums, which is all that is not data."""


class CorruptRecords:
    """Corrupt records found so far: up to the budget they are skipped, one more is an error.

    Shards are read repeatedly; a record counts once.
    """

    def __init__(self, budget: int, tolerated_by: str | None = None) -> None:
        """`tolerated_by` is what sets the budget; None: the setting `corrupt_records_budget`."""
        self._budget, self._tolerated_by = budget, tolerated_by
        self._reasons: dict[tuple[str, int], str] = {}  # by shard and offset in bytes

    @property
    def count(self) -> int:
        """Number of corrupt records."""
        return len(self._reasons)

    def places(self, shards: Sequence[str]) -> list[tuple[int, int, str]]:
        """Number of the shard, offset and reason of each corrupt record in some shards."""
        numbers = {uri: number for number, uri in enumerate(shards)}
        return [
            (numbers[uri], offset, why)
            for (uri, offset), why in self._reasons.items()
            if uri in numbers
        ]

    def recall(self, shards: Sequence[str], places: Iterable[tuple[int, int, str]]) -> None:
        """Record what `places` gave when these shards were read.

        Raises:
            JobError: there are more than the budget.
        """
        for number, offset, reason in places:
            self.add(shards[number], offset, reason)

    def add(self, uri: str, offset: int, reason: str) -> None:
        """Record a corrupt record and log a warning.

        Raises:
            JobError: there are more than the budget.
        """
        if (uri, offset) in self._reasons:
            return
        self._reasons[uri, offset] = reason
        place = f"corrupt record in {uri} at byte {offset}: {reason}"
        if self.count > self._budget:
            raise JobError(f"{place}; {self.count} corrupt records are more than {self._limit}")
        _LOG.warning(f"skipped {place}")

    @property
    def _limit(self) -> str:
        if self._tolerated_by is None:
            remedy = "make the features again, or raise it"
            return f"corrupt_records_budget={self._budget}: {remedy}"
        return f"the {self._budget} that {self._tolerated_by} tolerates: make the features again"

    def log_skipped(self) -> None:
        """Log how many records were skipped, if any."""
        if self.count:
            _LOG.warning(
                f"{self.count} corrupt records were skipped; up to {self._budget} are tolerated"
            )


def read_strips(uri: str, tile_shape: tuple[int, int], corrupt: CorruptRecords) -> Iterator[Strip]:
    """All readable strips of a shard, in order.

    Raises:
        JobError: more records are corrupt than `corrupt` allows, or the storage fails.
    """
    with reading(uri):
        for offset, record in _read_records(uri, corrupt):
            try:
                strip = decode_strip(record, tile_shape)
            except (DecodeError, IndexError, InputError, ValueError) as error:
                corrupt.add(uri, offset, " ".join(str(error).split()) or type(error).__name__)
            else:
                yield strip


def _read_records(uri: str, corrupt: CorruptRecords) -> Iterator[tuple[int, bytes]]:
    """Offsets and records whose checksums match."""
    offset = 0
    with contextlib.suppress(tf.errors.DataLossError):
        for record in RecordIterator(uri, ""):
            yield offset, record
            offset += len(record) + FRAME_BYTES
    yield from _read_on(uri, offset, corrupt)


def _read_on(uri: str, offset: int, corrupt: CorruptRecords) -> Iterator[tuple[int, bytes]]:
    """Continue where TensorFlow's iteration ended: after a corrupt record.

    If a record's length is corrupt, nothing after it is found, and it may count twice. A file
    truncated within a length ends without an error, so its size is compared.
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
            offset += _length_at(uri, offset) + FRAME_BYTES
        else:
            yield offset, record
            offset = following


def _length_at(uri: str, offset: int) -> int:
    with tf.io.gfile.GFile(uri, "rb") as file:
        file.seek(offset)
        return int.from_bytes(file.read(_LENGTH_BYTES), "little")
