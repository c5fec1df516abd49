"""Vectors of tiles as Parquet: the columns, the writer and the reader."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from beam_features.schema.strip import NO_LABEL
from dem import storage
from dem.access import is_remote
from dem.errors import JobError
from trainer.data.vector_table import VectorTable

EMBEDDINGS_INFO = "_embeddings_info.json"  # written last
EMBEDDED_SOURCES = "_sources.parquet"  # a row per audio file: beam_features.schema.sources

_ROWS_PER_GROUP = 4096
_ABOUT = b"made_from"  # key of the file's metadata
_IDS = ("recording", "context", "session")
_FIXED = {
    **{name: pa.string() for name in _IDS},
    "start_s": pa.float64(),
    "partition": pa.string(),
    "label": pa.string(),
    "audible": pa.bool_(),
}
FIXED_COLUMNS = (*_FIXED, "vector")


@dataclass(frozen=True)
class FurtherColumns:
    """Columns of text after the fixed ones, such as artist and title, by recording."""

    names: tuple[str, ...] = ()
    by_recording: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


NO_COLUMNS = FurtherColumns()


def table_schema(embedding_size: int, further: Sequence[str] = ()) -> pa.Schema:
    """Columns of a file, a row per tile.

    Rows of audio files that belong to no features have null for partition and label.
    """
    vector = {"vector": pa.list_(pa.float32(), embedding_size)}
    return pa.schema(_FIXED | vector | {name: pa.string() for name in further})


class RowWriter:
    """A Parquet file that is being written, in groups of rows."""

    def __init__(self, writer: pq.ParquetWriter) -> None:
        self._writer = writer
        self._group: list[pa.RecordBatch] = []
        self.rows = 0

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._writer.schema

    def add(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        self._group.append(batch)
        self.rows += len(batch)
        if sum(map(len, self._group)) >= _ROWS_PER_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write the rows that are held as a group."""
        self._writer.write_table(pa.Table.from_batches(self._group, self.schema))
        self._group = []

    def describe(self, about: Mapping[str, Any]) -> None:
        """Store what `read_about` returns of the file."""
        self._writer.add_key_value_metadata({_ABOUT: json.dumps(about)})


@contextlib.contextmanager
def new_parquet(uri: str, schema: pa.Schema) -> Iterator[RowWriter]:
    """Write a file; it appears at the end of the body, complete, or not at all."""
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "vectors.parquet")
        with pq.ParquetWriter(local, schema) as file:
            writer = RowWriter(file)
            yield writer
            writer.flush()
        storage.copy(local, uri)


def write_rows(
    uri: str,
    embedding_size: int,
    tables: Iterable[VectorTable],
    partition: str,
    label_names: Sequence[str],
    about: Callable[[], Mapping[str, Any]] = dict,
    further: FurtherColumns = NO_COLUMNS,
) -> Iterator[VectorTable]:
    """Pass tables of a partition on and write their rows.

    The file appears when all tables were consumed, and then it is complete.

    Args:
        uri: of the file.
        embedding_size: length of a vector.
        tables: the rows.
        partition: of the rows.
        label_names: names of the labels.
        about: called at the end; what `read_about` returns of the file.
        further: more columns.
    """
    schema = table_schema(embedding_size, further.names)
    with new_parquet(uri, schema) as writer:
        for table in tables:
            yield table
            writer.add(to_batch(table, schema, partition, label_names, further))
        writer.describe(about())


@contextlib.contextmanager
def local_parquet(uri: str) -> Iterator[str]:
    """Path of a file; a remote one is downloaded for the time of the body."""
    if not is_remote(uri):
        yield uri
        return
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "vectors.parquet")
        storage.copy(uri, local)
        yield local


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """Open a file; a remote one is downloaded first, to disk.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not storage.exists(uri):
        raise FileNotFoundError(uri)
    with local_parquet(uri) as local, pq.ParquetFile(local) as file:
        yield file


def read_about(file: pq.ParquetFile) -> dict[str, Any]:
    """Metadata that `write_rows` stored; empty if none."""
    return dict(json.loads(file.metadata.metadata.get(_ABOUT, b"{}")))


@dataclass(frozen=True)
class FileSummary:
    """What a finished file says of itself."""

    about: Mapping[str, Any]
    rows: int


def summary_of(uri: str) -> FileSummary | None:
    """Read the end of a file; None where there is no such file, or it is corrupt."""
    with (
        contextlib.suppress(FileNotFoundError, pa.ArrowInvalid),
        storage.open_binary(uri) as source,
        pq.ParquetFile(source) as file,
    ):
        return FileSummary(read_about(file), file.metadata.num_rows)
    return None


def read_rows(file: pq.ParquetFile, label_names: Sequence[str]) -> Iterator[VectorTable]:
    """Read the rows of a partition, a part at a time."""
    numbers = {name: number for number, name in enumerate(label_names)} | {None: NO_LABEL}
    for batch in file.iter_batches(_ROWS_PER_GROUP):
        recordings, contexts, sessions = (np.array(batch[name].to_pylist(), str) for name in _IDS)
        vectors = batch["vector"].flatten().to_numpy().reshape(len(batch), -1)
        start_ms = np.rint(batch["start_s"].to_numpy() * 1000).astype(np.int64)
        labels = np.array([numbers[name] for name in batch["label"].to_pylist()], np.int64)
        audible = batch["audible"].to_numpy(zero_copy_only=False).astype(np.bool_)
        yield VectorTable(vectors, recordings, contexts, sessions, start_ms, labels, audible)


class RecordingRows:
    """Rows of recordings in several files; in each, those of a recording follow each other."""

    def __init__(self, files: Iterable[tuple[str, Collection[str]]]) -> None:
        """`files`: local paths, and which recordings to take from each; a later file wins."""
        self._places: dict[str, list[_Place]] = {}
        for path, wanted in files:
            self._places |= {n: found for n, found in _places(path).items() if n in wanted}
        self._held: tuple[str, int, pa.Table] = ("", 0, None)

    @property
    def recordings(self) -> Collection[str]:
        """Names of the recordings, in the order of the files."""
        return self._places.keys()

    def of(self, recording: str) -> pa.RecordBatch:
        """All rows of a recording."""
        parts = [
            self._group(place.path, place.group).slice(place.start, place.rows)
            for place in self._places[recording]
        ]
        (batch,) = pa.concat_tables(parts).combine_chunks().to_batches()
        return batch

    def _group(self, path: str, group: int) -> pa.Table:
        """Read a group; the last one is held."""
        if self._held[:2] != (path, group):
            with _reading(path), pq.ParquetFile(path) as file:
                self._held = (path, group, file.read_row_group(group))
        return self._held[2]


@dataclass(frozen=True, slots=True)
class _Place:
    """Rows of one recording in a group of a file."""

    path: str
    group: int
    start: int
    rows: int


def _places(path: str) -> dict[str, list[_Place]]:
    """Where the rows of each recording are."""
    places: dict[str, list[_Place]] = {}
    with _reading(path), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            names = file.read_row_group(group, ["recording"])["recording"].combine_chunks()
            runs, start = pc.run_end_encode(names), 0
            ends = runs.run_ends.to_pylist()
            for name, end in zip(runs.values.to_pylist(), ends, strict=True):
                places.setdefault(name, []).append(_Place(path, group, start, end - start))
                start = end
    return places


@contextlib.contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise JobError(
            f"cannot read {path} ({why}); delete it, then run the same command"
        ) from error


def to_batch(
    table: VectorTable,
    schema: pa.Schema,
    partition: str | None = None,
    label_names: Sequence[str] = (),
    further: FurtherColumns = NO_COLUMNS,
) -> pa.RecordBatch:
    """Rows of a table; `partition` None: of audio files."""
    n = len(table.labels)
    labels = [None if label == NO_LABEL else label_names[label] for label in table.labels]
    vectors = pa.array(table.vectors.ravel(), pa.float32())
    columns = {
        "recording": table.recording_ids,
        "context": table.context_ids,
        "session": table.session_ids,
        "start_s": table.start_ms / 1000,
        "partition": [partition] * n,
        "label": labels,
        "audible": table.audible,
        "vector": pa.FixedSizeListArray.from_arrays(vectors, table.vectors.shape[1]),
    }
    cells = [further.by_recording.get(name, {}) for name in table.recording_ids]
    columns |= {name: [row.get(name) for row in cells] for name in further.names}
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
