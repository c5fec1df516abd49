"""A CSV table with the URI, label, partition, context, session and sensor of each recording."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from beam_features.datasets.names import Notes, fault_of_partition, find_files
from beam_features.datasets.rows import Row, read_table
from beam_features.datasets.split import draw_partitions
from beam_features.recording import Listing, Recording
from beam_features.schema.sources import RESERVED
from dem import storage
from dem.access import is_remote
from dem.errors import InputError, did_you_mean

_COLUMNS = ("uri", "label", "partition", "context_id", "session_id", "sensor_id", "offset_s")
_SECONDS = re.compile(r"\+?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_LIKENESS = 0.75  # below it, "artist" would be a misspelled "partition"


def list_recordings(table: str) -> Listing:
    """List the rows of `table`; all columns but ``uri`` may be missing, or empty in a row.

    Relative URIs start at the directory of the table. Rows without a partition are split by the
    hash of their session. The default session is the context, and the default context is the URI.
    Columns of other names become further columns of the recordings.

    Raises:
        InputError: the table does not exist, or a column or a value is invalid.
    """
    notes = Notes()
    columns, rows = read_table(table, _COLUMNS, ("uri",), notes, "--input takes the CSV file")
    further = [column for column in columns if column not in _COLUMNS]
    _check_further(table, further, notes)
    recordings, names = [], []
    for row in rows:
        recordings.append(_recording(row, further))
        names.append((row.written["uri"], row.cells["uri"]))
    directory = table[: table.rfind("/") + 1]
    uris = find_files(names, lambda name: _locate(directory, name), notes)
    located = (replace(r, uri=uri) for r, uri in zip(recordings, uris, strict=True))
    return Listing(draw_partitions(located), remarks=notes.lines())


def _check_further(table: str, columns: Sequence[str], notes: Notes) -> None:
    """Refuse columns that the outputs have themselves; remark on those that look misspelled."""
    for column in columns:
        if column.casefold() in RESERVED:
            raise InputError(
                f"{table!r}, header, column {column}: the results have a column of this name; "
                f"rename it, or use one of {', '.join(_COLUMNS)}"
            )
        if hint := did_you_mean(column.casefold(), _COLUMNS, _LIKENESS):
            notes.add(f"column {column!r} is kept as a further column{hint}")


def _recording(row: Row, further: Sequence[str]) -> Recording:
    uri = row.need("uri")
    if uri.endswith("/"):
        raise row.fault("uri", f"{uri!r} is a directory; a row names an audio file")
    context_id = row.cells.get("context_id", uri)
    partition = row.cells.get("partition", "")
    if partition and (fault := fault_of_partition(partition)):
        raise row.fault("partition", f"{partition!r} {fault}")
    return Recording(
        recording_id=uri,
        uri="",
        label=row.cells.get("label"),
        partition=partition,
        context_id=context_id,
        session_id=row.cells.get("session_id", context_id),
        sensor_id=row.cells.get("sensor_id", ""),
        offset_s=_seconds(row),
        columns=tuple((name, row.cells[name]) for name in further if name in row.cells),
        drawn=not partition,
    )


def _locate(directory: str, name: str) -> str:
    return name if name.startswith("/") or is_remote(name) else storage.join(directory, name)


def _seconds(row: Row) -> float:
    cell = row.cells.get("offset_s", "0")
    offset_s = float(cell) if _SECONDS.fullmatch(cell) else math.inf
    if offset_s == math.inf:
        raise row.fault("offset_s", f"{cell!r} must be a number of seconds, 0 or more")
    return offset_s
