"""Vectors of tiles or recordings, and what each row is."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from beam_features.schema.song_vector import song_statistics

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VectorTable:
    """Vectors ``[n, size]`` of tiles or recordings and, per row, its origin and its label.

    A row of a recording has the start of its first tile and is audible if one of its tiles is.
    Labels are numbers; `NO_LABEL`, -1, is none.
    """

    vectors: Float32
    recording_ids: npt.NDArray[np.str_]
    context_ids: npt.NDArray[np.str_]
    session_ids: npt.NDArray[np.str_]
    start_ms: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    audible: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, size: int) -> "VectorTable":
        """A table without rows."""
        no_ids, numbers = np.empty(0, np.str_), np.empty(0, np.int64)
        vectors, audible = np.empty((0, size), np.float32), np.empty(0, np.bool_)
        return cls(vectors, no_ids, no_ids, no_ids, numbers, numbers, audible)

    @classmethod
    def concatenate(cls, tables: Sequence["VectorTable"]) -> "VectorTable":
        """Join the rows of tables, at least one."""
        names = [field.name for field in fields(cls)]
        return cls(*(np.concatenate([getattr(table, name) for table in tables]) for name in names))

    def select(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.integer]) -> "VectorTable":
        """Keep the rows where `rows` ``[n]`` is true, or those it numbers."""
        return VectorTable(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def labelled(self) -> "VectorTable":
        """The rows with a label."""
        return self.select(self.labels >= 0)


def recording_table(tiles: VectorTable) -> VectorTable:
    """One vector per recording ``[n, 3 * size]``, see `song_statistics`.

    Rows are ordered by recording id; the label is that of the first tile.
    """
    _, first, rows = np.unique(tiles.recording_ids, return_index=True, return_inverse=True)
    vectors = song_statistics(tiles.vectors, rows, tiles.audible)
    return replace(
        tiles.select(first), vectors=vectors, audible=np.bincount(rows, tiles.audible) > 0
    )
