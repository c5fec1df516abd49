"""FMA: ``fma_metadata/tracks.csv`` and one of its audio archives (Defferrard 2017, 1612.01840)."""

import csv
from collections.abc import Iterator, Sequence

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
_COLUMNS = (("set", "subset"), ("set", "split"), ("track", "genre_top"), ("artist", "id"))
_HEADER_ROWS = 3  # group, column, and a row that says "track_id"
_LONGEST_CELL = 1 << 24  # biographies exceed the default limit of Python's reader


def list_recordings(root: str) -> Listing:
    """List the tracks of the audio archive in `root`; the dataset's own split is the partitions.

    Tracks of an artist share a session, so they are never opposites of each other.

    Raises:
        InputError: the table or the audio is missing, or the table has another format.
    """
    archive = _archive(root)
    tracks = storage.join(root, *_TRACKS.split("/"))
    try:
        recordings = tuple(_recordings(tracks, storage.join(root, archive), _SUBSETS[archive]))
    except FileNotFoundError as error:
        raise InputError(
            f"{tracks!r} does not exist; --input takes the directory that holds fma_metadata/ "
            f"and {archive}/"
        ) from error
    if not recordings:
        raise InputError(f"{tracks!r} has no track of the subset of {archive}; download it again")
    return Listing(recordings)


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


def _recordings(tracks: str, audio: str, subsets: Sequence[str]) -> Iterator[Recording]:
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        with storage.open_text(tracks) as text:
            reader = csv.reader(text)
            header = [next(reader, []) for _ in range(_HEADER_ROWS)]
            columns = list(zip(*header[:2], strict=False))
            missing = [".".join(column) for column in _COLUMNS if column not in columns]
            if missing:
                raise InputError(
                    f"{tracks!r} has no column {', '.join(missing)}; it must be FMA's own table, "
                    "with its three header rows"
                )
            places = [columns.index(column) for column in _COLUMNS]
            for row in reader:
                if len(row) < len(columns) or not row[0].isdigit():
                    raise InputError(
                        f"{tracks!r}, line {reader.line_num}: not a track; the table may be "
                        "truncated, download it again"
                    )
                subset, split, genre, artist = (row[place] for place in places)
                if subset in subsets:
                    yield _recording(audio, row[0], split, genre, artist)
    finally:
        csv.field_size_limit(before)


def _recording(audio: str, track: str, split: str, genre: str, artist: str) -> Recording:
    if split not in _PARTITIONS:
        raise InputError(
            f"track {track} of FMA has the split {split!r}, not one of {', '.join(_PARTITIONS)}"
        )
    number = f"{int(track):06d}"
    return Recording(
        recording_id=number,
        uri=storage.join(audio, number[:3], f"{number}.mp3"),
        label=genre or None,
        partition=_PARTITIONS[split],
        context_id=number,
        session_id=f"artist {artist}",
    )
