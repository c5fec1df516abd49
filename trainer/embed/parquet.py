"""Vectors of tiles as a Parquet file: its columns, and how it is written batch by batch."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dem import storage

_ROWS_PER_GROUP = 4096

Batches = Iterable[pa.RecordBatch]


def table_schema(embedding_size: int) -> pa.Schema:
    """Columns of the file; partition and label are null where nobody knows them."""
    return pa.schema(
        {
            "recording": pa.string(),
            "start_s": pa.float64(),
            "partition": pa.string(),
            "label": pa.string(),
            "vector": pa.list_(pa.float32(), embedding_size),
        }
    )


def to_rows(
    recordings: Sequence[str],
    start_s: npt.NDArray[np.float64],
    partition: str | None,
    labels: Sequence[str | None],
    vectors: npt.NDArray[np.float32],
) -> pa.RecordBatch:
    """Join columns of ``n`` rows; `vectors` is ``[n, embedding_size]``."""
    columns = [
        pa.array(recordings, pa.string()),
        pa.array(start_s, pa.float64()),
        pa.array([partition] * len(vectors), pa.string()),
        pa.array(labels, pa.string()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1]),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=table_schema(vectors.shape[1]))


def write_table(uri: str, embedding_size: int, batches: Batches) -> int:
    """Write a file that appears complete or not at all; return its number of rows."""
    schema = table_schema(embedding_size)
    n_rows = 0
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "table.parquet")
        with pq.ParquetWriter(local, schema) as writer:
            for group in _row_groups(batches):
                writer.write_table(pa.Table.from_batches(group, schema))
                n_rows += sum(map(len, group))
        storage.copy(local, uri)
    return n_rows


def _row_groups(batches: Batches) -> Iterator[list[pa.RecordBatch]]:
    """Collect batches until there are enough rows for a row group."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= _ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group
