"""Vectors of tiles as Parquet: the columns, the writer and the reader."""

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from beam_features.schema.strip import NO_LABEL
from dem import storage
from dem.access import is_remote
from trainer.data.vector_table import VectorTable

_ROWS_PER_GROUP = 4096
_ABOUT = b"made_from"  # key of the file's metadata
_IDS = ("recording", "context", "session")


def table_schema(embedding_size: int) -> pa.Schema:
    """Columns of a file, a row per tile.

    Rows of audio files that belong to no features have null for partition, label and audible.
    """
    return pa.schema(
        {
            "recording": pa.string(),
            "context": pa.string(),
            "session": pa.string(),
            "start_s": pa.float64(),
            "partition": pa.string(),
            "label": pa.string(),
            "audible": pa.bool_(),
            "vector": pa.list_(pa.float32(), embedding_size),
        }
    )


def write_rows(
    uri: str,
    embedding_size: int,
    tables: Iterable[VectorTable],
    partition: str | None,
    label_names: Sequence[str],
    about: Callable[[], Mapping[str, Any]] = dict,
) -> Iterator[VectorTable]:
    """Pass tables on and write their rows.

    The file appears when all tables were consumed, and then it is complete.

    Args:
        uri: of the file.
        embedding_size: length of a vector.
        tables: the rows.
        partition: of the rows; None: audio files.
        label_names: names of the labels.
        about: called at the end; what `read_about` returns of the file.
    """
    schema = table_schema(embedding_size)
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "vectors.parquet")
        with pq.ParquetWriter(local, schema) as writer:
            group: list[pa.RecordBatch] = []
            for table in tables:
                yield table
                group.append(_to_batch(table, schema, partition, label_names))
                if sum(map(len, group)) >= _ROWS_PER_GROUP:
                    writer.write_table(pa.Table.from_batches(group, schema))
                    group = []
            writer.write_table(pa.Table.from_batches(group, schema))
            writer.add_key_value_metadata({_ABOUT: json.dumps(about())})
        storage.copy(local, uri)


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[pq.ParquetFile]:
    """Open a file; a remote one is downloaded first, to disk.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not storage.exists(uri):
        raise FileNotFoundError(uri)
    with tempfile.TemporaryDirectory() as directory:
        local = uri
        if is_remote(uri):
            local = os.path.join(directory, "vectors.parquet")
            storage.copy(uri, local)
        with pq.ParquetFile(local) as file:
            yield file


def read_about(file: pq.ParquetFile) -> dict[str, Any]:
    """Metadata that `write_rows` stored; empty if none."""
    return dict(json.loads(file.metadata.metadata.get(_ABOUT, b"{}")))


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


def _to_batch(
    table: VectorTable, schema: pa.Schema, partition: str | None, label_names: Sequence[str]
) -> pa.RecordBatch:
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
        "audible": table.audible if partition else [None] * n,
        "vector": pa.FixedSizeListArray.from_arrays(vectors, table.vectors.shape[1]),
    }
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
