"""The table that embedding-atlas reads: https://apple.github.io/embedding-atlas/."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from dem import storage
from similarity.index.songs import Song, to_table


def write_atlas(
    uri: str,
    songs: Sequence[Song],
    points: npt.NDArray[np.floating],
    near: Sequence[Sequence[tuple[int, float]]],
    sounds: Sequence[str | None] | None,
) -> None:
    """Write a row per song: its columns, ``x`` and ``y``, ``neighbors`` and, if asked, ``audio``.

    Args:
        uri: of the file.
        songs: of the library.
        points: ``[songs, 2]``.
        near: rows, from 0, and similarities of the nearest songs.
        sounds: data URI of each song, or None; None: the table has no sound.
    """
    table = to_table(songs, np.zeros((len(songs), 1), np.float32)).drop_columns(["vector"])
    neighbours = [
        {"ids": [row for row, _ in rows], "distances": [1 - alike for _, alike in rows]}
        for rows in near
    ]
    table = table.append_column("x", pa.array(points[:, 0], pa.float64()))
    table = table.append_column("y", pa.array(points[:, 1], pa.float64()))
    table = table.append_column("neighbors", pa.array(neighbours))
    if sounds is not None:
        audio = [
            {"bytes": _decoded(sound), "path": song.uri}
            for sound, song in zip(sounds, songs, strict=True)
        ]
        table = table.append_column("audio", pa.array(audio))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    storage.write_bytes(uri, buffer.getvalue())


def _decoded(sound: str | None) -> bytes | None:
    return None if sound is None else base64.b64decode(sound.partition(",")[2])
