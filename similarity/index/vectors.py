"""Vectors of tiles, as the embedding wrote them: read song by song, only the songs that are asked.

The input is a directory of ``dem embed``: Parquet files of rows per tile, `_embeddings_info.json`,
and for audio files `_sources.parquet`.
"""

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

from beam_features.schema.sources import SOURCES, Source, read_sources
from dem import storage
from dem.access import is_remote
from dem.errors import InputError, JobError

EMBEDDINGS_INFO = "_embeddings_info.json"
_FIXED = ("recording", "context", "session", "start_s", "partition", "label", "audible", "vector")

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

    def versions(self) -> dict[str, str]:
        """The version of each recording that has vectors, by id, sorted."""
        found: dict[str, str] = {}
        for name in self.files:
            with self._open(name) as file:
                column = file.read(columns=["recording"])["recording"]
                file_version = _digest_of_metadata(file)
            for recording in column.unique().to_pylist():
                source = self.sources.get(recording)
                found[recording] = source.version if source else file_version
        return dict(sorted(found.items()))

    def songs(self, wanted: Collection[str]) -> Iterator[SongTiles]:
        """Read the tiles of the wanted recordings; row groups without any of them are not read."""
        for name in self.files:
            with self._open(name) as file:
                column = file.read(columns=["recording"])["recording"]
                rows = {row["values"]: row["counts"] for row in column.value_counts().to_pylist()}
                yield from _join_parts(_parts_of_songs(file, frozenset(wanted)), rows)

    def _open(self, name: str) -> pq.ParquetFile:
        return pq.ParquetFile(os.path.join(self.local, name), memory_map=True)


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
    sources = _sources(storage.join(uri, f"_{SOURCES}"))
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


def _parts_of_songs(file: pq.ParquetFile, wanted: frozenset[str]) -> Iterator[SongTiles]:
    """Yield runs of rows of one recording; a recording that spans row groups has several."""
    for group in range(file.num_row_groups):
        recordings = file.read_row_group(group, columns=["recording"])["recording"]
        names = np.array(recordings.to_pylist(), object)
        if wanted.isdisjoint(names):
            continue
        table = file.read_row_group(group).combine_chunks()
        edges = np.flatnonzero(names[1:] != names[:-1]) + 1
        starts = [0, *edges.tolist()]
        for first, last in zip(starts, [*starts[1:], len(names)], strict=True):
            if names[first] in wanted:
                yield _song_of(names[first], table.slice(first, last - first))


def _song_of(recording: str, rows: pa.Table) -> SongTiles:
    column = rows["vector"].combine_chunks()
    vectors = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    audible = rows["audible"].to_pylist()
    return SongTiles(
        recording,
        vectors.reshape(rows.num_rows, -1),
        rows["start_s"].to_numpy().astype(np.float32),
        np.array([True if value is None else value for value in audible], np.bool_),
        {name: rows[name][0].as_py() for name in rows.column_names if name not in _FIXED}
        | {name: rows[name][0].as_py() for name in ("session", "label", "partition")},
    )


def _join_parts(parts: Iterator[SongTiles], rows: Mapping[str, int]) -> Iterator[SongTiles]:
    """Join the parts of each recording once all of its rows are read.

    Args:
        parts: of recordings that may alternate, as those of several microphones do.
        rows: how many rows each recording has.

    Raises:
        JobError: a vector is not finite.
    """
    held: dict[str, list[SongTiles]] = {}
    for part in parts:
        mine = held.setdefault(part.recording, [])
        mine.append(part)
        if sum(len(piece.start_s) for piece in mine) == rows[part.recording]:
            yield _joined(held.pop(part.recording))


def _joined(parts: list[SongTiles]) -> SongTiles:
    vectors = np.concatenate([part.vectors for part in parts])
    if not np.isfinite(vectors).all():
        raise JobError(f"a vector of {parts[0].recording!r} is not finite; embed it again")
    return SongTiles(
        parts[0].recording,
        vectors,
        np.concatenate([part.start_s for part in parts]),
        np.concatenate([part.audible for part in parts]),
        parts[0].about,
    )
