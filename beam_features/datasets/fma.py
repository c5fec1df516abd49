"""FMA: ``fma_metadata/tracks.csv`` and one of its audio archives (Defferrard 2017, 1612.01840)."""

import re
from collections.abc import Iterator, Sequence
from itertools import islice

from beam_features.datasets.names import Notes
from beam_features.datasets.rows import Row, check_rows, make_rows, read_lines
from beam_features.recording import Listing, Recording
from dem import storage
from dem.errors import InputError

_TRACKS = "fma_metadata/tracks.csv"
_SUBSETS = {  # each includes those before it; tracks.csv names a track's smallest subset
    "fma_small": ("small",),
    "fma_medium": ("small", "medium"),
    "fma_large": ("small", "medium", "large"),
}
_PARTITIONS = {"training": "train", "validation": "validation", "test": "test"}
_NEEDED = ("set.subset", "set.split", "track.genre_top", "artist.id")
_FURTHER = {"track.title": "title", "artist.name": "artist", "album.title": "album"}
_TRACK = "track_id"  # the first column, of which the header has this name in its third row
_NUMBER = re.compile(r"[0-9]{1,6}")
_HEADER_ROWS = 3  # group, column, and a row that says "track_id"


def list_recordings(root: str) -> Listing:
    """List the tracks of the audio archive in `root`; the dataset's own split is the partitions.

    Tracks of an artist share a session, so they are never opposites of each other.

    Raises:
        InputError: the table or the audio is missing, or the table has another format.
    """
    archive = _archive(root)
    tracks, notes = storage.join(root, *_TRACKS.split("/")), Notes()
    remedy = f"--input takes the directory that holds fma_metadata/ and {archive}/"
    rows = _rows(tracks, remedy, notes)
    subsets, audio = _SUBSETS[archive], storage.join(root, archive)
    recordings = tuple(_recording(row, audio) for row in rows if _subset(row) in subsets)
    if not recordings:
        raise InputError(f"{tracks!r} has no track of the subset of {archive}; download it again")
    return Listing(recordings, remarks=notes.lines())


def _archive(root: str) -> str:
    """Find the one audio directory in `root`."""
    found = [name for name in _SUBSETS if storage.list_files(storage.join(root, name))]
    if len(found) != 1:
        raise InputError(
            f"{root!r} must hold one of {', '.join(_SUBSETS)} with mp3 files in it, not "
            f"{' and '.join(found) or 'none'}; --input takes the directory that holds it and "
            "fma_metadata/"
        )
    return found[0]


def _rows(tracks: str, remedy: str, notes: Notes) -> Iterator[Row]:
    """Read the table, with the columns that are used."""
    lines = read_lines(tracks, remedy, ("set", "track", "artist"))
    columns = _columns(tracks, [cells for _, cells in islice(lines, _HEADER_ROWS)])
    rows = make_rows(tracks, lines, columns, notes, free=_FURTHER)
    return check_rows(tracks, rows, _TRACK)


def _columns(tracks: str, header: Sequence[Sequence[str]]) -> list[str | None]:
    """Name the columns that are used ``group.column``."""
    pairs = zip(*header[:2], strict=False) if len(header) == _HEADER_ROWS else ()
    names = [f"{group.strip()}.{column.strip()}" for group, column in pairs]
    if missing := [name for name in _NEEDED if names.count(name) != 1]:
        raise InputError(
            f"{tracks!r} has no column {', '.join(missing)}; it must be FMA's own table, "
            "with its three header rows"
        )
    used = {*_NEEDED, *_FURTHER}
    return [_TRACK, *(name if name in used else None for name in names[1:])]


def _subset(row: Row) -> str | None:
    subset = row.cells.get("set.subset")
    if subset is not None and subset not in _SUBSETS["fma_large"]:
        raise row.fault("set.subset", f"{subset!r} is none of {', '.join(_SUBSETS['fma_large'])}")
    return subset


def _recording(row: Row, audio: str) -> Recording:
    track, split = row.need(_TRACK), row.need("set.split")
    if not _NUMBER.fullmatch(track):
        raise row.fault(_TRACK, f"{track!r} is not the number of a track")
    if split not in _PARTITIONS:
        raise row.fault("set.split", f"{split!r} is none of {', '.join(_PARTITIONS)}")
    number, cells = f"{int(track):06d}", row.cells
    return Recording(
        recording_id=number,
        uri=storage.join(audio, number[:3], f"{number}.mp3"),
        label=cells.get("track.genre_top"),
        partition=_PARTITIONS[split],
        context_id=number,
        session_id=f"artist {cells['artist.id']}" if "artist.id" in cells else number,
        columns=tuple((name, cells[place]) for place, name in _FURTHER.items() if place in cells),
    )
