"""ESC-50 and ESC-10: ``meta/esc50.csv``, ``audio/`` (Piczak 2015, doi:10.1145/2733373.2806390)."""

import re
from dataclasses import replace

from beam_features.datasets.names import Notes, find_files, is_inside
from beam_features.datasets.rows import Row, read_table
from beam_features.recording import Listing, Recording
from dem import storage

_META = "meta/esc50.csv"
_COLUMNS = ("filename", "fold", "category", "src_file")
_FOLD = re.compile(r"[1-9][0-9]{0,2}")


def list_recordings(root: str) -> Listing:
    """List the clips of the dataset's own table; its folds are the partitions.

    Clips cut from one source file share a session, so they are never opposites of each other.

    Raises:
        InputError: the table is missing, or a column or a cell is invalid.
    """
    notes = Notes()
    meta = storage.join(root, *_META.split("/"))
    remedy = "--input takes the directory that holds meta/ and audio/"
    _, rows = read_table(meta, _COLUMNS, _COLUMNS, notes, remedy)
    recordings, names = [], []
    for row in rows:
        recordings.append(_recording(row))
        names.append((row.written["filename"], row.cells["filename"]))
    uris = find_files(names, lambda name: storage.join(root, "audio", name), notes)
    located = zip(recordings, uris, strict=True)
    return Listing(tuple(replace(r, uri=uri) for r, uri in located), remarks=notes.lines())


def _recording(row: Row) -> Recording:
    name, fold = row.need("filename"), row.need("fold")
    if not is_inside(name):
        raise row.fault("filename", f"{name!r} must be the name of a file in audio/")
    if not _FOLD.fullmatch(fold):
        raise row.fault("fold", f"{fold!r} must be a whole number from 1 to 999, such as 5")
    return Recording(
        recording_id=name,
        uri="",
        label=row.need("category"),
        partition=f"fold{fold}",
        context_id=name,
        session_id=row.need("src_file"),
    )
