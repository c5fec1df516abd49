"""A CSV table with the URI, label, partition, context, session and sensor of each recording."""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence

from beam_features.datasets.split import split_by_hash
from beam_features.recording import Listing, Recording
from dem import storage
from dem.access import is_remote
from dem.errors import InputError

_COLUMNS = ("uri", "label", "partition", "context_id", "session_id", "sensor_id", "offset_s")


def list_recordings(table: str) -> Listing:
    """List the rows of `table`; all columns but ``uri`` may be missing, or empty in a row.

    Relative URIs start at the directory of the table. Rows without a partition are split by the
    hash of their session. The default session is the context, and the default context is the URI.

    Raises:
        InputError: the table does not exist, or a column or a value is invalid.
    """
    try:
        recordings = tuple(_rows(table))
    except FileNotFoundError as error:
        raise InputError(f"{table!r} does not exist; --input takes the CSV file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{table!r} is not UTF-8 text; save it as CSV in UTF-8") from error
    except csv.Error as error:
        raise InputError(f"{table!r} is not a CSV table: {error}") from error
    if not recordings:
        raise InputError(f"{table!r} has no rows below its header; add a row per recording")
    return Listing(recordings)


def _rows(table: str) -> Iterator[Recording]:
    directory = table.rpartition("/")[0]
    with storage.open_text(table) as text:
        reader = csv.DictReader(text)
        _check_header(table, reader.fieldnames or ())
        for row in reader:
            where = f"{table!r}, line {reader.line_num}"
            if None in row:
                raise InputError(f"{where}: more cells than the header; quote cells with commas")
            filled = {column: cell for column, cell in row.items() if cell and cell.strip()}
            yield _recording(filled, directory, where)


def _check_header(table: str, columns: Sequence[str]) -> None:
    known = ", ".join(_COLUMNS)
    unknown = [repr(column) for column in columns if column not in _COLUMNS]
    if unknown:
        raise InputError(
            f"{table!r} has unknown columns {', '.join(unknown)}; choose from: {known}"
        )
    if "uri" not in columns or len(set(columns)) < len(columns):
        raise InputError(
            f"{table!r} must begin with a header that has the column uri, and each column once; "
            f"choose from: {known}"
        )


def _recording(row: Mapping[str, str], directory: str, where: str) -> Recording:
    uri = row.get("uri")
    if uri is None:
        raise InputError(f"{where}: no uri; each row names a recording")
    context_id = row.get("context_id", uri)
    session_id = row.get("session_id", context_id)
    return Recording(
        recording_id=uri,
        uri=uri if uri.startswith("/") or is_remote(uri) else storage.join(directory, uri),
        label=row.get("label"),
        partition=_partition(row.get("partition") or split_by_hash(session_id), where),
        context_id=context_id,
        session_id=session_id,
        sensor_id=row.get("sensor_id", ""),
        offset_s=_seconds(row.get("offset_s", "0"), where),
    )


def _partition(name: str, where: str) -> str:
    """Check a partition's name: file names, and patterns of them, begin with it."""
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(
            f"{where}: partition {name!r} may only have letters, digits, '_', '-', '.'"
        )
    return name


def _seconds(cell: str, where: str) -> float:
    try:
        offset_s = float(cell)
    except ValueError:
        offset_s = math.nan
    if not 0 <= offset_s < math.inf:
        raise InputError(f"{where}: offset_s {cell!r} must be a number of seconds, 0 or more")
    return offset_s
