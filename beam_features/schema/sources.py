"""`sources.parquet`: a row per audio file that was read, beside what was made of it.

The feature job writes it to its output, and the embedding of audio files likewise. A later run
compares it with the files to see which are new, changed or gone; a reader takes titles and the like
from it.
"""

import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import pyarrow as pa
import pyarrow.parquet as pq

from dem import storage

SOURCES = "sources.parquet"
_PREFIX = "table_"


@dataclass(frozen=True)
class Source:
    """An audio file: where it is, which version of it was read, and what was in it.

    Attributes:
        recording: its id.
        uri: of the file.
        bytes: its size.
        modified_s: when it was modified, in seconds since 1970.
        version: changes when the file does: its size and time of modification, or the generation of
            the object.
        seconds: of audio; 0 if it was rejected.
        audible_share: share of its tiles that are not silent; 0: it holds no sound.
        samples_sha256: digest of the decoded samples; equal sounds in other containers have it.
        rejected: why it could not be used; None if it was used.
        columns: further columns of the dataset's table, such as artist and title.
        partition: that it is in; like all that follows, of a recording of the feature job.
        context: its timeline.
        session: of its context.
        sensor: that recorded it.
        label: its name.
        shard: the file that holds its tiles; None if it was rejected.
        cancelled: whether the mean of its channels is weaker by 20 dB or more than they are.
    """

    recording: str
    uri: str
    bytes: int
    modified_s: float
    version: str
    seconds: float = 0.0
    audible_share: float = 0.0
    samples_sha256: str | None = None
    rejected: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    partition: str | None = None
    context: str | None = None
    session: str | None = None
    sensor: str | None = None
    label: str | None = None
    shard: str | None = None
    cancelled: bool = False

    @property
    def is_silent(self) -> bool:
        """Whether it was used and holds no sound."""
        return self.rejected is None and self.audible_share == 0


_TYPES = {
    "recording": pa.string(),
    "uri": pa.string(),
    "bytes": pa.int64(),
    "modified_s": pa.float64(),
    "version": pa.string(),
    "seconds": pa.float64(),
    "audible_share": pa.float64(),
    "samples_sha256": pa.string(),
    "rejected": pa.string(),
    **dict.fromkeys(("partition", "context", "session", "sensor", "label", "shard"), pa.string()),
    "cancelled": pa.bool_(),
}

RESERVED = frozenset(_TYPES) | {
    "columns",
    *("context", "session", "start_s", "partition", "label", "audible", "vector"),  # of vectors
}
"""Names, in lower case, that further columns cannot have: tools that read Parquet ignore case."""


def write_sources(uri: str, sources: Iterable[Source]) -> None:
    """Write the table, with a column of text for each of the further columns.

    A further column that has the name of one of ours, such as ``bytes``, becomes ``table_bytes``.
    """
    rows = [asdict(source) | _renamed(source.columns) for source in sources]
    further = list(dict.fromkeys(name for row in rows for name in _renamed(row["columns"])))
    schema = pa.schema(_TYPES | {name: pa.string() for name in further})
    columns = {name: [row.get(name) for row in rows] for name in schema.names}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema), buffer)
    storage.write_bytes(uri, buffer.getvalue())


def _renamed(columns: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {f"{_PREFIX}{name}" if name in _TYPES else name: cell for name, cell in columns}


def _original(name: str) -> str:
    plain = name.removeprefix(_PREFIX)
    return plain if plain in _TYPES else name


def read_sources(uri: str) -> list[Source]:
    """Read what `write_sources` wrote.

    Raises:
        FileNotFoundError: there is no such file.
    """
    table = pq.read_table(io.BytesIO(storage.read_bytes(uri)))
    own = {field.name for field in fields(Source)} & set(table.column_names)
    return [
        Source(
            **{name: row[name] for name in own},
            columns=tuple(
                (_original(name), cell)
                for name, cell in row.items()
                if name not in own and cell is not None
            ),
        )
        for row in table.to_pylist()
    ]
