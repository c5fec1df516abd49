"""The rows of an index: what is known of each recording, beside its vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Float32 = npt.NDArray[np.float32]

_NUMBERS = {  # of the columns that are not text
    "bytes": pa.int64(),
    "modified_s": pa.float64(),
    "seconds": pa.float64(),
    "audible_share": pa.float64(),
    "tempo": pa.float64(),
    "loudness": pa.float64(),
    "first_tile": pa.int64(),
    "tiles": pa.int64(),
}


@dataclass(frozen=True)
class Song:
    """A recording of the index; None is unknown.

    Attributes:
        recording: its id.
        uri: of the file.
        version: of the file, see `beam_features.schema.sources.Source`.
        bytes: size of the file.
        modified_s: when the file was modified, in seconds since 1970.
        seconds: of audio.
        audible_share: share of its tiles that are not silent.
        samples_sha256: digest of the decoded samples.
        title, artist, album: from the dataset's table, or the tags of the file.
        label: from the features, or the directory.
        session: recordings of one session must not count as retrieved.
        tempo: beats per minute.
        key: such as ``A minor``.
        loudness: mean power in dB of full scale.
        first_tile: row of its first tile.
        tiles: how many tiles it has, in consecutive rows.
        columns: further columns of the dataset's table.
    """

    recording: str
    uri: str
    version: str
    bytes: int = 0
    modified_s: float = 0.0
    seconds: float = 0.0
    audible_share: float = 0.0
    samples_sha256: str | None = None
    title: str | None = None
    artist: str | None = None
    album: str | None = None
    label: str | None = None
    session: str | None = None
    tempo: float | None = None
    key: str | None = None
    loudness: float | None = None
    first_tile: int = 0
    tiles: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    def value(self, name: str) -> Any:
        """A column by name, of its own or further ones; None where it has none."""
        return self.columns.get(name) if name not in FIELDS else getattr(self, name)


FIELDS = tuple(entry.name for entry in fields(Song) if entry.name != "columns")


def numbered(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Number equal values of a column alike from 0; -1 is for what is unknown."""
    numbers: dict[Any, int] = {}
    return np.array(
        [-1 if value is None else numbers.setdefault(value, len(numbers)) for value in values],
        np.int64,
    )


def folder_of(recording: str) -> str | None:
    """The directory that a recording is in, as its id says."""
    return recording.rpartition("/")[0] or None


def to_table(songs: Sequence[Song], vectors: Float32) -> pa.Table:
    """Make ``songs.parquet``: the songs, a column of text per further column, and the vectors."""
    further = list(dict.fromkeys(name for song in songs for name in song.columns))
    types = {name: _NUMBERS.get(name, pa.string()) for name in (*FIELDS, *further)}
    size = vectors.shape[1]
    columns = {
        name: pa.array([song.value(name) for song in songs], type_) for name, type_ in types.items()
    }
    columns["vector"] = pa.FixedSizeListArray.from_arrays(
        pa.array(vectors.ravel(), pa.float32()), size
    )
    return pa.table(columns)


def from_table(table: pa.Table) -> list[Song]:
    """Read the songs from a table of `to_table`, with or without its vectors."""
    further = [name for name in table.column_names if name not in (*FIELDS, "vector")]
    columns = {name: table[name].to_pylist() for name in (*FIELDS, *further)}
    return [
        Song(
            **{name: columns[name][row] for name in FIELDS},
            columns={
                name: columns[name][row] for name in further if columns[name][row] is not None
            },
        )
        for row in range(table.num_rows)
    ]
