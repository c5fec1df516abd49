"""ESC-50 and ESC-10: ``meta/esc50.csv``, ``audio/`` (Piczak 2015, doi:10.1145/2733373.2806390)."""

import csv
import io

from beam_features.recording import Listing, Recording
from dem import storage
from dem.errors import InputError

_META = "meta/esc50.csv"
_COLUMNS = {"filename", "fold", "category", "src_file"}


def list_recordings(root: str) -> Listing:
    """List the clips of the dataset's own table; its folds are the partitions.

    Clips cut from one source file share a session, so they are never opposites of each other.

    Raises:
        InputError: the table is missing, empty or lacks a column.
    """
    meta = storage.join(root, *_META.split("/"))
    try:
        rows = list(csv.DictReader(io.StringIO(storage.read_text(meta))))
    except FileNotFoundError as error:
        raise InputError(
            f"{meta!r} does not exist; --input takes the directory that holds meta/ and audio/"
        ) from error
    if not rows or not rows[0].keys() >= _COLUMNS:
        raise InputError(f"{meta!r} must have rows with the columns {', '.join(sorted(_COLUMNS))}")
    return Listing(tuple(_recording(root, row) for row in rows))


def _recording(root: str, row: dict[str, str]) -> Recording:
    name = row["filename"]
    return Recording(
        recording_id=name,
        uri=storage.join(root, "audio", name),
        label=row["category"],
        partition=f"fold{row['fold']}",
        context_id=name,
        session_id=row["src_file"],
    )
