"""Build an index from vectors, or bring it up to date: unchanged songs are taken from the old one.

A build writes files of its own name, then `songs.parquet`, then `index_info.json`; only then are
the files of the build before deleted. A build that is killed leaves the one before, or its own.
"""

import dataclasses
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from beam_features.schema.song_vector import DEFINITION, song_vectors
from beam_features.schema.sources import Source
from dem import storage
from dem.access import is_remote
from dem.errors import InputError, JobError
from similarity.index.arrays import ArrayWriter, map_array, save_array
from similarity.index.library import (
    INDEX_INFO,
    INFO_KEY,
    SCHEMA_VERSION,
    SONGS,
    IndexInfo,
    current_build,
    file_name,
    graph_name,
    read_info,
    read_songs,
)
from similarity.index.songs import Song, folder_of, from_table, to_table
from similarity.index.tags import Tags, read_tags
from similarity.index.vectors import Embeddings, SongTiles
from similarity.measure.hubness import reference_songs, surroundings
from similarity.measure.scale import largest_distance
from trainer.metrics.neighbours import unit_rows

_LOG = logging.getLogger(__name__)
_ARRAYS = ("vectors", "surroundings", "tiles", "starts")

_OURS = re.compile(rf"({'|'.join(_ARRAYS)})-[0-9a-f]{{16}}\.npy|graph-[0-9a-f]{{16}}\.usearch")
_TAGS = ("title", "artist", "album", "label")

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Changes:
    """What a build found, by recording."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    kept: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def any(self) -> bool:
        """Whether anything is not as it was."""
        return bool(self.new or self.changed or self.gone)

    def __str__(self) -> str:
        return (
            f"{len(self.new)} new, {len(self.changed)} changed, {len(self.kept)} kept, "
            f"{len(self.gone)} gone"
        )


@dataclass(frozen=True)
class OldIndex:
    """What the last build left: songs with their vectors and tiles; without one there are none."""

    info: IndexInfo | None
    songs: Mapping[str, Song]
    vectors: Float32
    row_of: Mapping[str, int]
    tiles: npt.NDArray[np.float16]
    starts: Float32


_NOTHING = OldIndex(
    *(None, {}, np.empty((0, 0), np.float32), {}),
    *(np.empty((0, 0), np.float16), np.empty(0, np.float32)),
)


@dataclass(frozen=True)
class Options:
    """How an index is built.

    Attributes:
        prune: whether songs that the embeddings do not have are dropped; else they are kept.
        describe: whether tempo, key and loudness are measured where they are unknown.
        approximate: whether a graph for approximate search is built.
    """

    prune: bool = False
    describe: bool = False
    approximate: bool = False


def build_index(embeddings: Embeddings, output: str, options: Options) -> Changes:
    """Make `output` the index of the embeddings; return what changed.

    Args:
        embeddings: vectors of tiles.
        output: directory of the index, which may hold an older one of the same model.
        options: how.

    Raises:
        InputError: the index was made by another model.
        JobError: another build wrote to `output` at the same time.
    """
    with tempfile.TemporaryDirectory() as scratch:
        before = current_build(output)
        old = _read_old(output, scratch) if before else _NOTHING
        if old.info and old.info.model_sha256 != embeddings.model_sha256:
            raise InputError(
                f"{output} was made by a model of sha256 {old.info.model_sha256[:12]}, the vectors "
                f"by {embeddings.model_sha256[:12]}; choose another --output, or delete the index"
            )
        changes = compare(old.songs, embeddings.versions, prune=options.prune)
        _LOG.info(f"songs: {changes}")
        if old.info and not (changes.any or _lacks(output, old.info.build, old, options)):
            _finish(output, old.info)
        else:
            _write(embeddings, output, old, before, changes, scratch, options)
    return changes


def compare(old: Mapping[str, Song], versions: Mapping[str, str], *, prune: bool) -> Changes:
    """Sort recordings by what happened to them since the last build."""
    kept = [name for name in versions if name in old and old[name].version == versions[name]]
    changed = [name for name in versions if name in old and old[name].version != versions[name]]
    missing = sorted(old.keys() - versions.keys())
    return Changes(
        tuple(name for name in versions if name not in old),
        tuple(changed),
        tuple(kept if prune else [*kept, *missing]),
        tuple(missing if prune else ()),
    )


def _read_old(output: str, scratch: str) -> OldIndex:
    """Read the last build; one that has lost files counts as none.

    Raises:
        JobError: another build replaced it meanwhile.
    """
    try:
        info, table = read_songs(output, with_vectors=True)
        if missing := _missing_arrays(output, info.build):
            file = storage.join(output, file_name(missing[0], info.build))
            _LOG.warning(f"{file} is missing; the index is built anew, from these vectors alone")
            return _NOTHING
        files = [file_name(name, info.build) for name in ("tiles", "starts")]
        tiles, starts = (_old_array(output, file, scratch) for file in files)
    except FileNotFoundError as error:
        raise _changed(output) from error
    vectors = table["vector"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
    songs = from_table(table)
    row_of = {song.recording: row for row, song in enumerate(songs)}
    by_name = {song.recording: song for song in songs}
    return OldIndex(info, by_name, vectors, row_of, tiles, starts)


def _old_array(output: str, file: str, scratch: str) -> npt.NDArray[Any]:
    if not is_remote(output):
        return map_array(os.path.join(output, file))
    local = os.path.join(scratch, f"old-{file}")
    storage.copy(storage.join(output, file), local)
    return map_array(local)


@dataclass(frozen=True)
class _Made:
    """A song of the new build, and where its tiles are: in the old build, or in a scratch file."""

    song: Song
    vector: Float32
    is_old: bool

    @property
    def rows(self) -> slice:
        return slice(self.song.first_tile, self.song.first_tile + self.song.tiles)


def _write(
    embeddings: Embeddings,
    output: str,
    old: OldIndex,
    before: str | None,
    changes: Changes,
    scratch: str,
    options: Options,
) -> None:
    """Write all tiles in the order of the recordings' ids, as a fresh build does."""
    made = {
        name: _Made(old.songs[name], old.vectors[old.row_of[name]], is_old=True)
        for name in changes.kept
    }
    made |= _read_new(embeddings, changes, scratch)
    sources = {
        True: (old.tiles, old.starts),
        False: tuple(
            map_array(os.path.join(scratch, f"new-{name}")) for name in ("tiles", "starts")
        ),
    }
    tiles, starts = _open_arrays(scratch, "", embeddings.size)
    names = sorted(made)
    songs = []
    for name in names:
        one = made[name]
        songs.append(replace(one.song, first_tile=tiles.rows))
        tiles.append(sources[one.is_old][0][one.rows])
        starts.append(sources[one.is_old][1][one.rows])
    tiles.close()
    starts.close()
    vectors = np.array([made[name].vector for name in names], np.float32)
    vectors = vectors.reshape(len(names), 2 * embeddings.size)
    versions = embeddings.versions
    songs = _with_tags(songs, {*changes.new, *changes.changed})
    songs = [replace(song, version=versions.get(song.recording, song.version)) for song in songs]
    if options.describe:
        songs = _described(songs)
    build = _build_id(embeddings, songs, vectors)
    unit = unit_rows(vectors).astype(np.float32)
    if options.approximate:
        _write_graph(output, build, unit, names, old, changes, scratch)
    _publish(embeddings, output, songs, vectors, unit, build, scratch, before)


def _lacks(output: str, build: str, old: OldIndex, options: Options) -> bool:
    """Whether the last build was made without something that is wanted now."""
    undescribed = any(song.loudness is None for song in old.songs.values())
    no_graph = not storage.is_file(storage.join(output, graph_name(build)))
    return (options.describe and undescribed) or (options.approximate and no_graph)


def _write_graph(
    output: str,
    build: str,
    unit: Float32,
    names: Sequence[str],
    old: OldIndex,
    changes: Changes,
    scratch: str,
) -> None:
    """Bring the last build's graph up to date, or make one."""
    from similarity.index.graph import keys_of, update_graph

    fresh = {*changes.new, *changes.changed}
    before = None
    last = old.info and storage.join(output, graph_name(old.info.build))
    if last and storage.is_file(last):
        before = os.path.join(scratch, "old-graph")
        storage.copy(last, before)
    path = os.path.join(scratch, "graph")
    update_graph(
        path,
        unit,
        keys_of(names),
        keys_of([*changes.gone, *changes.changed]),
        np.array([name in fresh for name in names], np.bool_),
        before,
    )
    storage.copy(path, storage.join(output, graph_name(build)))


def _read_new(embeddings: Embeddings, changes: Changes, scratch: str) -> dict[str, _Made]:
    """Read the songs that the old build does not have; write their tiles to scratch files."""
    tiles, starts = _open_arrays(scratch, "new-", embeddings.size)
    found = {}
    for part in embeddings.songs({*changes.new, *changes.changed}):
        audible = part.audible
        song = song_of(part, embeddings.sources.get(part.recording))
        song = replace(song, first_tile=tiles.rows, tiles=int(np.count_nonzero(audible)))
        vector = song_vectors(part.vectors, np.zeros(len(audible), np.int64), audible)[0]
        found[part.recording] = _Made(song, vector, is_old=False)
        tiles.append(unit_rows(part.vectors[audible]))
        starts.append(part.start_s[audible])
    tiles.close()
    starts.close()
    return found


def _open_arrays(scratch: str, prefix: str, size: int) -> tuple[ArrayWriter, ArrayWriter]:
    return (
        ArrayWriter(os.path.join(scratch, f"{prefix}tiles"), (size,), np.float16),
        ArrayWriter(os.path.join(scratch, f"{prefix}starts"), (), np.float32),
    )


def song_of(tiles: SongTiles, source: Source | None) -> Song:
    """Describe a recording by its rows and its file, without tags."""
    about = {name: str(cell) for name, cell in tiles.about.items() if cell not in (None, "")}
    session = about.pop("session", None)
    title, artist, album, label = (about.pop(name, None) for name in _TAGS)
    if label is None and "partition" not in about:  # an audio file, as --dataset folder labels it
        label = folder_of(tiles.recording)
    return Song(
        recording=tiles.recording,
        uri=source.uri if source else tiles.recording,
        version=source.version if source else "",
        bytes=source.bytes if source else 0,
        modified_s=source.modified_s if source else 0.0,
        seconds=source.seconds if source and source.seconds else _length_s(tiles),
        audible_share=float(tiles.audible.mean()) if len(tiles.audible) else 0.0,
        samples_sha256=source.samples_sha256 if source else None,
        title=title,
        artist=artist,
        album=album,
        label=label,
        session=session,
        columns=about,
    )


def _length_s(tiles: SongTiles) -> float:
    """Where the last tile ends, if tiles follow each other; 0 where a single one does not tell."""
    starts = np.unique(tiles.start_s)
    return float(starts[-1] + np.diff(starts).min()) if len(starts) > 1 else 0.0


def _publish(
    embeddings: Embeddings,
    output: str,
    songs: Sequence[Song],
    vectors: Float32,
    unit: Float32,
    build: str,
    scratch: str,
    before: str | None,
) -> None:
    """Write the arrays of the build, then the songs, whose appearance makes it the current one.

    Raises:
        JobError: another build did so since this one began.
    """
    names = [song.recording for song in songs]
    reference = reference_songs(names)
    own = np.full(len(names), -1)
    own[reference] = np.arange(len(reference))
    around = surroundings(unit, unit[reference], own)
    save_array(os.path.join(scratch, "vectors"), unit)
    save_array(os.path.join(scratch, "surroundings"), np.stack(dataclasses.astuple(around), axis=1))
    _write_arrays(output, build, scratch, _ARRAYS)
    info = IndexInfo(
        schema_version=SCHEMA_VERSION,
        build=build,
        model_sha256=embeddings.model_sha256,
        fingerprint=embeddings.fingerprint,
        definition=DEFINITION,
        model=embeddings.model,
        songs=len(songs),
        tiles=sum(song.tiles for song in songs),
        size=2 * embeddings.size,
        largest_distance=largest_distance(unit, reference) if len(songs) > 1 else 1.0,
        reference=tuple(reference.tolist()),
    )
    if current_build(output) not in (before, build):
        raise _changed(output)
    table = to_table(songs, vectors).replace_schema_metadata({INFO_KEY: info.dump()})
    _write_table(storage.join(output, SONGS), table)
    # a build that ended between the check and here has deleted them
    _write_arrays(output, build, scratch, _missing_arrays(output, build))
    _finish(output, info)


def _changed(output: str) -> JobError:
    return JobError(f"another dem index has changed {output} meanwhile; run the same command again")


def _write_arrays(output: str, build: str, scratch: str, names: Iterable[str]) -> None:
    for name in names:
        storage.copy(os.path.join(scratch, name), storage.join(output, file_name(name, build)))


def _missing_arrays(output: str, build: str) -> list[str]:
    there = set(storage.list_names(output))
    return [name for name in _ARRAYS if file_name(name, build) not in there]


def _finish(output: str, info: IndexInfo) -> None:
    """Write the marker and delete the files of other builds."""
    if read_info(output) != info:
        storage.write_text(storage.join(output, INDEX_INFO), info.dump())
    _clean(output, info.build)


def _with_tags(songs: Sequence[Song], untagged: set[str]) -> list[Song]:
    """Add what the files of new songs say, where the dataset's table does not."""
    uris = [song.uri for song in songs if song.recording in untagged and song.version]
    tags = dict(zip(uris, read_tags(uris), strict=True))
    return [_tagged(song, tags.get(song.uri, Tags())) for song in songs]


def _tagged(song: Song, tags: Tags) -> Song:
    return replace(
        song,
        title=song.title or tags.title,
        artist=song.artist or tags.artist,
        album=song.album or tags.album,
    )


def _described(songs: Sequence[Song]) -> list[Song]:
    """Measure the songs that are not described yet."""
    from similarity.index.descriptors import describe_files

    rows = [row for row, song in enumerate(songs) if song.loudness is None]
    found = list(songs)
    measured = describe_files([(songs[row].uri, songs[row].seconds) for row in rows])
    for row, values in zip(rows, measured, strict=True):
        found[row] = replace(songs[row], **dataclasses.asdict(values))
    return found


def _build_id(embeddings: Embeddings, songs: Sequence[Song], vectors: Float32) -> str:
    """Depends only on the content, so equal indexes have equal names."""
    digest = hashlib.sha256(embeddings.model_sha256.encode())
    digest.update(np.ascontiguousarray(vectors).tobytes())
    digest.update(repr(list(songs)).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _write_table(uri: str, table: pa.Table) -> None:
    with storage.atomic_write(uri) as file:
        pq.write_table(table, file)


def _clean(output: str, build: str) -> None:
    """Delete the arrays of other builds and leftovers of killed ones."""
    builds = {build, current_build(output) or build}  # another may have ended since
    current = {file_name(name, build) for name in _ARRAYS for build in builds}
    current |= set(map(graph_name, builds))
    for name in storage.list_names(output):
        intended = storage.intended_name(name) or name
        ours = _OURS.fullmatch(intended) is not None
        is_leftover = intended != name and intended in (SONGS, INDEX_INFO)
        if (ours and name not in current) or is_leftover:
            storage.delete(storage.join(output, name))
