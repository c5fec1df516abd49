"""An index opened for reading: rows of songs, unit vectors mapped into memory, its definition.

``songs.parquet`` decides: it appears at once, when all arrays of its build are there, and holds a
copy of ``index_info.json`` that names them. So a reader never mixes two builds, and a build that is
killed leaves the index before it. ``index_info.json`` itself is written last and marks an index.
"""

import contextlib
import dataclasses
import functools
import io
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dem import storage
from dem.access import is_remote
from dem.errors import InputError, JobError
from similarity.index.arrays import map_array
from similarity.index.songs import Song, from_table
from similarity.measure.hubness import Reduction, Surroundings, reduced

INDEX_INFO = "index_info.json"
SONGS = "songs.parquet"
INFO_KEY = b"index_info"  # in the metadata of SONGS
SCHEMA_VERSION = 1
_TRIES = 3

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class IndexInfo:
    """What an index was made from.

    Attributes:
        schema_version: of the files.
        build: id of the build, which its files share.
        model_sha256: digest of the model that made the vectors.
        fingerprint: of the features that the model takes.
        definition: of the vector of a song.
        model: where the model was when the vectors were made; None: unknown.
        songs: how many rows.
        tiles: how many vectors of audible tiles.
        size: length of a song's vector.
        largest_distance: between two songs of the index, 1 - cosine: similarity 0.
        reference: rows of the songs that distances are compared with, to reduce hubs.
    """

    schema_version: int
    build: str
    model_sha256: str
    fingerprint: str
    definition: str
    model: str | None
    songs: int
    tiles: int
    size: int
    largest_distance: float
    reference: tuple[int, ...]

    def dump(self) -> str:
        """Serialise to indented JSON, the long list on one line."""
        values = dataclasses.asdict(self)
        reference = json.dumps(values.pop("reference"))
        text = json.dumps(values, indent=2)
        return f'{text[:-2]},\n  "reference": {reference}\n}}\n'

    @classmethod
    def parse(cls, text: str | bytes, origin: str) -> "IndexInfo":
        """Parse what `dump` returned.

        Raises:
            InputError: `origin` is no such file, or of another schema version.
        """
        try:
            values = json.loads(text)
            info = cls(**values | {"reference": tuple(values["reference"])})
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{origin} is not of an index; choose another directory, or delete the index"
            ) from error
        if info.schema_version != SCHEMA_VERSION:
            raise InputError(
                f"{origin} has schema version {info.schema_version}, expected {SCHEMA_VERSION}; "
                "delete the index and build it again"
            )
        return info


@dataclasses.dataclass(frozen=True)
class Library:
    """An open index.

    Attributes:
        uri: of the index.
        info: what it was made from.
        table: a row per song, all columns but the vector.
        unit: vectors of length one ``[songs, size]``, mapped into memory.
        local: directory of the files on this machine.
    """

    uri: str
    info: IndexInfo
    table: pa.Table
    unit: Float32
    local: str

    def __len__(self) -> int:
        return self.info.songs

    def song(self, row: int) -> Song:
        """The song of a row."""
        return from_table(self.table.slice(row, 1))[0]

    def songs(self) -> list[Song]:
        """All songs, in the order of the rows."""
        return from_table(self.table)

    def column(self, name: str) -> list[Any]:
        """A column of all songs.

        Raises:
            InputError: there is no such column.
        """
        if name not in self.table.column_names:
            raise InputError(
                f"{self.uri} has no column {name!r}; choose one of: "
                f"{', '.join(self.table.column_names)}"
            )
        return cast(list[Any], self.table[name].to_pylist())

    @functools.cached_property
    def recordings(self) -> list[str]:
        """Ids of all songs."""
        return self.column("recording")

    @functools.cached_property
    def row_of(self) -> dict[str, int]:
        """Row by id of the recording."""
        return {name: row for row, name in enumerate(self.recordings)}

    @functools.cached_property
    def row_of_uri(self) -> dict[str, int]:
        """Row by URI; local paths are absolute."""
        uris = self.column("uri")
        return {uri if is_remote(uri) else os.path.abspath(uri): r for r, uri in enumerate(uris)}

    @functools.cached_property
    def surroundings(self) -> Surroundings:
        """How near the reference songs are to each song."""
        rows = self._mapped("surroundings")
        return Surroundings(*(rows[:, column] for column in range(rows.shape[1])))

    @property
    def reference(self) -> Float32:
        """Vectors of the reference songs ``[n, size]``."""
        if len(self.info.reference) == len(self):
            return self.unit
        reference: Float32 = self.unit[np.array(self.info.reference)]
        return reference

    def scores(self, row: int, reduction: Reduction) -> Floats:
        """How much a song is like each song ``[songs]``; higher is more alike."""
        own = self.surroundings.of(np.array([row]))
        return reduced(self.cosines(row), own, self.surroundings, reduction)

    def cosines(self, row: int) -> Float32:
        """Cosines of a song with each song ``[songs]``."""
        cosines: Float32 = self.unit @ self.unit[row]
        return cosines

    def tile_vectors(self, row: int) -> tuple[Floats, Float32]:
        """Vectors of length one ``[tiles, size]`` of a song's audible tiles, and their starts in s.

        Those of the tiles are in half precision.
        """
        song = self.song(row)
        rows = slice(song.first_tile, song.first_tile + song.tiles)
        return self._mapped("tiles")[rows], self._mapped("starts")[rows]

    @property
    def graph(self) -> str:
        """Local file of the graph for approximate search.

        Raises:
            InputError: the index was built without one.
        """
        try:
            return self._local_file(graph_name(self.info.build))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.uri} has no graph; build it with dem index --approximate"
            ) from error

    def _mapped(self, name: str) -> Any:
        try:
            return map_array(self._local_file(file_name(name, self.info.build)))
        except FileNotFoundError as error:
            raise JobError(
                f"{error} is gone, since {self.uri} was built again meanwhile; run the command "
                "again"
            ) from error

    def _local_file(self, name: str) -> str:
        """A file of the index on this machine; that of a remote index is fetched when needed."""
        path = os.path.join(self.local, name)
        if not os.path.exists(path):
            if not is_remote(self.uri):
                raise FileNotFoundError(path)
            storage.copy(storage.join(self.uri, name), path)
        return path


def file_name(name: str, build: str) -> str:
    """Name of the file of a build's array, such as ``vectors``."""
    return f"{name}-{build}.npy"


def graph_name(build: str) -> str:
    """Name of the file of a build's graph for approximate search."""
    return f"graph-{build}.usearch"


def read_info(uri: str) -> IndexInfo | None:
    """Read what an index was made from; None where there is no complete index."""
    path = storage.join(uri, INDEX_INFO)
    try:
        return IndexInfo.parse(storage.read_text(path), path)
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def open_library(uri: str) -> Iterator[Library]:
    """Open an index; of a remote one, what is needed is copied to a temporary directory.

    Raises:
        InputError: there is no index, or it has no songs.
        JobError: files of it are missing.
    """
    uri = uri.rstrip("/") or "/"
    if read_info(uri) is None:
        raise InputError(f"{uri!r} holds no index; build one with dem index")
    with tempfile.TemporaryDirectory() as temporary:
        yield _open(uri, temporary if is_remote(uri) else uri)


def _open(uri: str, local: str) -> Library:
    """Read the songs and map their vectors; try again where another build has replaced them."""
    missing = None
    for _ in range(_TRIES):
        try:
            info, table = read_songs(uri, with_vectors=False)
            if not info.songs:
                raise InputError(f"the index {uri!r} is empty; index a directory with recordings")
            vectors = file_name("vectors", info.build)
            if is_remote(uri):
                storage.copy(storage.join(uri, vectors), os.path.join(local, vectors))
            return Library(uri, info, table, map_array(os.path.join(local, vectors)), local)
        except FileNotFoundError as error:
            missing = error
    raise JobError(f"{uri} is incomplete ({missing}); build the index again with dem index")


def read_songs(uri: str, *, with_vectors: bool) -> tuple[IndexInfo, pa.Table]:
    """Read the songs of an index, and what it was made from.

    Raises:
        FileNotFoundError: there are none.
        InputError: they are no songs of an index, or of another schema version.
    """
    path = storage.join(uri, SONGS)
    source = io.BytesIO(storage.read_bytes(path)) if is_remote(path) else path
    with _naming_corrupt(path), pq.ParquetFile(source) as file:
        names = [n for n in file.schema_arrow.names if with_vectors or n != "vector"]
        return _info_of(file, path), file.read(columns=names)


def current_build(uri: str) -> str | None:
    """Id of the build whose songs are there now; None where there are none."""
    path = storage.join(uri, SONGS)
    try:
        with (
            _naming_corrupt(path),
            storage.open_binary(path) as stream,
            pq.ParquetFile(stream) as file,
        ):
            return _info_of(file, path).build
    except FileNotFoundError:
        return None


def _info_of(file: pq.ParquetFile, path: str) -> IndexInfo:
    return IndexInfo.parse((file.schema_arrow.metadata or {}).get(INFO_KEY, b""), path)


@contextlib.contextmanager
def _naming_corrupt(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) is not None:
            raise  # of the storage; Parquet's have no number
        raise InputError(
            f"{path} is corrupt ({error}); delete the index and build it again"
        ) from error
