"""The index of a frame store: what lies where, and which tiles and cuts can be drawn.

Frames of a context that follow each other in its timeline are a segment, also where they come from
several strips. A cut is a tile's worth of consecutive frames from any frame on, not only on the
grid of tiles. It is admissible if it lies within one recording of one segment and is not entirely
silent.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from trainer.data.columns import Coded, Columns
from trainer.store.ranges import Int64, Ranges


@dataclass(frozen=True)
class Index:
    """What is in a frame store. Frame `f` is of tile ``f // tile_frames``.

    Attributes:
        tile_frames: frames of a tile.
        first: of each segment, its first frame; after the last one, the number of all frames
            ``[n_segments + 1]``.
        time: of each segment, the frame of the context's timeline at which it begins.
        contexts: of each segment, like sessions and sensors.
        recordings: of each tile.
        start_ms: of each tile, in its recording.
        labels: of each tile, or `NO_LABEL`.
        audible: the tiles that are not silent.
        cuts: the frames at which an admissible cut begins.
    """

    tile_frames: int
    first: Int64
    time: Int64
    contexts: Coded
    sessions: Coded
    sensors: Coded
    recordings: Coded
    start_ms: Int64
    labels: Int64
    audible: Ranges
    cuts: Ranges

    @classmethod
    def join(cls, parts: Sequence["Index"], tile_frames: int) -> Self:
        """Concatenate the indices of shards."""
        n_frames = [int(part.first[-1]) for part in parts]
        offsets = np.cumsum([0, *n_frames])
        first = [part.first[:-1] + offset for part, offset in zip(parts, offsets, strict=False)]
        named: dict[str, Any] = {
            name: Coded.join([getattr(part, name) for part in parts])
            for name in ("contexts", "sessions", "sensors", "recordings")
        }
        return cls(
            tile_frames=tile_frames,
            first=np.concatenate([*first, offsets[-1:]]),
            time=_joined(parts, "time"),
            start_ms=_joined(parts, "start_ms"),
            labels=_joined(parts, "labels"),
            **named,
            audible=Ranges.join([part.audible for part in parts], offsets[:-1] // tile_frames),
            cuts=Ranges.join([part.cuts for part in parts], offsets[:-1]),
        )

    def audible_sessions(self) -> int:
        """How many sessions have an audible tile."""
        segments = np.searchsorted(self.first, self.audible.numbers() * self.tile_frames, "right")
        return len(np.unique(self.sessions.codes[segments - 1]))


def index_columns(
    columns: Columns, loud: npt.NDArray[np.bool_]
) -> tuple[Index, npt.NDArray[np.integer] | None]:
    """Index a shard.

    Args:
        columns: of the shard.
        loud: per frame ``[n_tiles, tile_frames]``, whether it is not silent.

    Returns:
        The index, and the order of the shard's tiles in which it is one: by context, then time;
        None: they are in this order.
    """
    strips = np.lexsort((columns.first_tile, columns.contexts.codes))
    order = None
    if (np.diff(strips) != 1).any():
        order = np.argsort(np.argsort(strips)[columns.strip_of_tile], kind="stable")
        columns, loud = _in_order(columns, strips, order), loud[order]
    tile_frames = loud.shape[1]
    begins = _begins_segment(columns)
    segment_of_tile = (np.cumsum(begins) - 1)[columns.strip_of_tile]
    of_strip = np.concatenate([[0], np.cumsum(columns.n_tiles)]) * tile_frames
    (heads,) = np.nonzero(begins)
    index = Index(
        tile_frames=tile_frames,
        first=np.append(of_strip[heads], of_strip[-1]),
        time=columns.first_tile[heads] * tile_frames,
        contexts=columns.contexts.take(heads),
        sessions=columns.sessions.take(heads),
        sensors=columns.sensors.take(heads),
        recordings=columns.recordings,
        start_ms=columns.start_ms,
        labels=columns.labels,
        audible=Ranges.where(np.any(loud, axis=1)),
        cuts=Ranges.where(_admissible(loud, segment_of_tile, columns.recordings.codes)),
    )
    return index, order


def dump_index(index: Index) -> dict[str, npt.NDArray[Any]]:
    """Convert to arrays by name, for a file."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for field in dataclasses.fields(index):
        value = getattr(index, field.name)
        if isinstance(value, Coded):
            names = json.dumps(value.names).encode()
            arrays[f"{field.name}.names"] = np.frombuffer(names, np.uint8)
            arrays[f"{field.name}.codes"] = value.codes
        elif isinstance(value, Ranges):
            arrays |= {f"{field.name}.first": value.first, f"{field.name}.before": value.before}
        else:
            arrays[field.name] = np.asarray(value)
    return arrays


def load_index(arrays: Mapping[str, npt.NDArray[Any]]) -> Index:
    """Convert back what `dump_index` returned."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(Index):
        name = field.name
        if field.type is Coded:
            names = tuple(json.loads(arrays[f"{name}.names"].tobytes()))
            values[name] = Coded(names, arrays[f"{name}.codes"])
        elif field.type is Ranges:
            values[name] = Ranges(arrays[f"{name}.first"], arrays[f"{name}.before"])
        else:
            values[name] = arrays[name]
    return Index(**values | {"tile_frames": int(values["tile_frames"])})


def _joined(parts: Sequence[Index], name: str) -> Int64:
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *(getattr(part, name) for part in parts)])


def _in_order(
    columns: Columns, strips: npt.NDArray[np.integer], tiles: npt.NDArray[np.integer]
) -> Columns:
    """Bring all columns but those of frames into another order of strips and tiles."""
    return dataclasses.replace(
        columns,
        recordings=columns.recordings.take(tiles),
        start_ms=columns.start_ms[tiles],
        labels=columns.labels[tiles],
        n_tiles=columns.n_tiles[strips],
        first_tile=columns.first_tile[strips],
        contexts=columns.contexts.take(strips),
        sessions=columns.sessions.take(strips),
        sensors=columns.sensors.take(strips),
    )


def _begins_segment(columns: Columns) -> npt.NDArray[np.bool_]:
    """Per strip, whether it does not continue the one before it."""
    begins = np.ones(len(columns.n_tiles), np.bool_)
    end = columns.first_tile + columns.n_tiles
    same = columns.contexts.codes[1:] == columns.contexts.codes[:-1]
    begins[1:] = ~same | (columns.first_tile[1:] != end[:-1])
    return begins


def _admissible(
    loud: npt.NDArray[np.bool_],
    segment_of_tile: npt.NDArray[np.integer],
    recording_of_tile: npt.NDArray[np.integer],
) -> npt.NDArray[np.bool_]:
    """Per frame, whether a cut may begin there; `loud` is ``[n_tiles, tile_frames]``."""
    n_tiles, tile_frames = loud.shape
    change = (np.diff(segment_of_tile) != 0) | (np.diff(recording_of_tile) != 0)
    run = np.repeat(np.concatenate([[0], np.cumsum(change)])[:n_tiles], tile_frames)
    heard = np.concatenate([[0], np.cumsum(loud.ravel())])
    admissible = np.zeros(loud.size, np.bool_)
    n_cuts = max(loud.size - tile_frames + 1, 0)
    whole = run[:n_cuts] == run[tile_frames - 1 :]
    admissible[:n_cuts] = whole & (heard[tile_frames:] > heard[:n_cuts])
    return admissible
