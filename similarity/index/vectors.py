"""Vectors of tiles, as the embedding wrote them: read song by song, only the songs that are asked.

The input is a directory of ``dem embed``: Parquet files of rows per tile, `_embeddings_info.json`,
and for audio files `_sources.parquet`.
"""

import functools
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from beam_features.schema.sources import Source, read_sources
from dem import storage
from dem.access import is_remote
from dem.errors import InputError, JobError
from trainer.embed.parquet import (
    EMBEDDED_SOURCES,
    EMBEDDINGS_INFO,
    FIXED_COLUMNS,
    RecordingRows,
)

_ABOUT = ("session", "label", "partition")

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class SongTiles:
    """The tiles of a recording.

    Attributes:
        recording: its id.
        vectors: ``[tiles, size]``.
        start_s: ``[tiles]``.
        audible: ``[tiles]``.
        about: the other columns of its first row.
    """

    recording: str
    vectors: Float32
    start_s: Float32
    audible: npt.NDArray[np.bool_]
    about: Mapping[str, Any]


@dataclass(frozen=True)
class Embeddings:
    """A complete output of the embedding.

    Attributes:
        local: its directory on this machine.
        model_sha256: digest of the model.
        fingerprint: of the features that the model takes.
        model: where the model was; None: unknown.
        size: length of a tile's vector.
        files: Parquet files by name.
        sources: by recording; empty for recordings that are no files.
    """

    local: str
    model_sha256: str
    fingerprint: str
    model: str | None
    size: int
    files: tuple[str, ...]
    sources: Mapping[str, Source]

    @functools.cached_property
    def versions(self) -> dict[str, str]:
        """The version of each recording that has vectors, by id, sorted."""
        found: dict[str, str] = {}
        for name in self.files:
            with pq.ParquetFile(self._path(name), memory_map=True) as file:
                column = file.read(columns=["recording"])["recording"]
                file_version = _digest_of_metadata(file)
            for recording in column.unique().to_pylist():
                source = self.sources.get(recording)
                found[recording] = source.version if source else file_version
        return dict(sorted(found.items()))

    def songs(self, wanted: Collection[str]) -> Iterator[SongTiles]:
        """Read the tiles of the wanted recordings, in the order of the files."""
        rows = RecordingRows((self._path(name), wanted) for name in self.files)
        for recording in rows.recordings:
            yield _song_of(recording, rows.of(recording))

    def _path(self, name: str) -> str:
        return os.path.join(self.local, name)


def open_embeddings(uri: str, scratch: str) -> Embeddings:
    """Open an output of ``dem embed``; a remote one is copied to the directory `scratch` first.

    Raises:
        InputError: there is none, or it is incomplete.
        JobError: it was replaced meanwhile.
    """
    marker = storage.join(uri, EMBEDDINGS_INFO)
    try:
        text = storage.read_text(marker)
    except FileNotFoundError as error:
        raise InputError(
            f"{uri!r} holds no vectors ({EMBEDDINGS_INFO} is missing); make them with dem embed"
        ) from error
    try:
        info = json.loads(text)
        names, arguments = tuple(info["files"]), info["arguments"]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{marker} is corrupt; make the vectors again with dem embed") from error
    local = scratch if is_remote(uri) else uri
    for name in names:
        _require_local(storage.join(uri, name), os.path.join(local, name))
    sources = _sources(storage.join(uri, EMBEDDED_SOURCES))
    return Embeddings(
        local,
        arguments["model_sha256"],
        arguments["fingerprint"],
        info.get("model"),
        arguments["embedding_size"],
        names,
        {source.recording: source for source in sources},
    )


def _sources(uri: str) -> list[Source]:
    """The table of audio files; empty where vectors were made without one."""
    try:
        return read_sources(uri)
    except FileNotFoundError:
        return []


def _require_local(uri: str, path: str) -> None:
    """Copy a file to `path` unless it is there already."""
    if os.path.exists(path):
        return
    try:
        storage.copy(uri, path)
    except FileNotFoundError as error:
        raise JobError(f"{uri} is missing; make the vectors again with dem embed") from error


def _digest_of_metadata(file: pq.ParquetFile) -> str:
    """Stands for the content of a file: its length in rows and the statistics of its columns."""
    text = repr(file.metadata.to_dict())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _song_of(recording: str, rows: pa.RecordBatch) -> SongTiles:
    """Make a song of its rows.

    Raises:
        JobError: a vector is not finite.
    """
    vectors = rows["vector"].flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    if not np.isfinite(vectors).all():
        raise JobError(f"a vector of {recording!r} is not finite; embed it again")
    audible = rows["audible"].to_pylist()
    names = [name for name in rows.schema.names if name not in FIXED_COLUMNS]
    return SongTiles(
        recording,
        vectors.reshape(rows.num_rows, -1),
        rows["start_s"].to_numpy().astype(np.float32),
        np.array([True if value is None else value for value in audible], np.bool_),
        {name: rows[name][0].as_py() for name in (*names, *_ABOUT)},
    )
