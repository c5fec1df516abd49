"""What the words of a query mean: recordings of the index, or audio files outside of it."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from beam_features.schema.song_vector import song_vectors
from dem import storage
from dem.access import is_remote
from dem.errors import InputError, did_you_mean
from similarity.index.library import Library
from trainer.metrics.neighbours import unit_rows

if TYPE_CHECKING:
    from similarity.index.vectors import SongTiles

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Query:
    """A song that is asked about.

    Attributes:
        name: of the recording, or of the file.
        row: in the index; None: outside of it.
        unit: vector of length one ``[size]``.
        tiles: vectors of length one of its audible tiles ``[tiles, size]``.
        start_s: of them ``[tiles]``.
    """

    name: str
    row: int | None
    unit: Float32
    tiles: npt.NDArray[np.floating]
    start_s: Float32


def find_row(word: str, library: Library) -> int | None:
    """Find the recording that a word names: by id, by path, or by the end of its id.

    Raises:
        InputError: several ids end with the word.
    """
    if word in library.row_of:
        return library.row_of[word]
    path = word if is_remote(word) else os.path.abspath(word)
    if path in library.row_of_uri:
        return library.row_of_uri[path]
    ends = [name for name in library.recordings if name.endswith(f"/{word}") or _stem(name) == word]
    if len(ends) > 1:
        raise InputError(
            f"{word!r} may be {len(ends)} recordings, such as {ends[0]!r} and {ends[1]!r}; "
            "give more of the path"
        )
    return library.row_of[ends[0]] if ends else None


def find_queries(words: Sequence[str], library: Library, model: str | None) -> list[Query]:
    """Find the songs of the words; those outside of the index are embedded together.

    Args:
        words: ids of recordings, or paths.
        library: the index.
        model: of the training that made the index; None: the place that the index names.

    Raises:
        InputError: a word names neither a recording nor a file.
    """
    rows = [find_row(word, library) for word in words]
    outside = [word for word, row in zip(words, rows, strict=True) if row is None]
    for word in outside:
        if not storage.is_file(word):
            raise unknown_song(word, library)
    embedded = embed_files(outside, library, model) if outside else {}
    return [
        embedded[word] if row is None else _of_row(row, library)
        for word, row in zip(words, rows, strict=True)
    ]


def find_known(word: str, library: Library) -> int:
    """Find the row of a recording of the index.

    Raises:
        InputError: the word names none.
    """
    row = find_row(word, library)
    if row is None:
        raise unknown_song(word, library)
    return row


def unknown_song(word: str, library: Library) -> InputError:
    """Say that a word names no song, and which one is spelled most like it."""
    names = library.recordings
    inside = [name for name in names if word.casefold() in name.casefold()]
    if inside:
        hint = f"; did you mean {inside[0]!r}?"
    else:
        hint = did_you_mean(word, names) or did_you_mean(_stem(word) or word, map(_stem, names))
    return InputError(f"{word!r} is neither a recording of {library.uri} nor an audio file{hint}")


def embed_files(words: Sequence[str], library: Library, model: str | None) -> dict[str, Query]:
    """Embed audio files with the model of the index.

    Raises:
        InputError: the model is not known, is another one, or a file cannot be read.
    """
    from similarity.index.vectors import open_embeddings
    from trainer.embed.__main__ import parse_arguments, run

    model = model or library.info.model
    if model is None:
        raise InputError(
            f"{words[0]!r} is not in {library.uri}; to embed it, give the training with --model"
        )
    with tempfile.TemporaryDirectory() as directory:
        run(parse_arguments(["--model", model, "--output", directory, "--input", *words]))
        embeddings = open_embeddings(directory, directory)
        if embeddings.model_sha256 != library.info.model_sha256:
            raise InputError(
                f"{model} is not the model of {library.uri}: sha256 "
                f"{embeddings.model_sha256[:12]}, expected {library.info.model_sha256[:12]}"
            )
        found = {part.recording: _of_tiles(part) for part in embeddings.songs(list(words))}
    missing = [word for word in words if word not in found]
    if missing:
        raise InputError(f"{missing[0]!r} cannot be used as a query; the reason is above")
    return found


def _of_row(row: int, library: Library) -> Query:
    tiles, start_s = library.tile_vectors(row)
    return Query(library.recordings[row], row, library.unit[row], tiles, start_s)


def _of_tiles(part: "SongTiles") -> Query:
    vector = song_vectors(part.vectors, np.zeros(len(part.start_s), np.int64), part.audible)
    tiles = unit_rows(part.vectors[part.audible])
    return Query(part.recording, None, unit_rows(vector)[0], tiles, part.start_s[part.audible])


def _stem(name: str) -> str:
    return name.rpartition("/")[2].rpartition(".")[0]
