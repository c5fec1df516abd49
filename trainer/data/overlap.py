"""Tiles that overlap those of the grid, from the frames of two that follow each other."""

import dataclasses

import numpy as np
import numpy.typing as npt

from trainer.data.columns import Columns


def shifts(tile_frames: int, overlap: int) -> list[int]:
    """Frames by which `overlap` grids of tiles are apart, as evenly as possible; the first is 0."""
    return sorted({tile_frames * number // overlap for number in range(overlap)})


def shifted(columns: Columns, shift: int, hop_ms: float) -> Columns:
    """Tiles that begin `shift` frames after those of a shard.

    One lies in two tiles of a strip that follow each other. Both must be of one recording and have
    the same label.

    Args:
        columns: of the shard.
        shift: at least 0, less than a tile.
        hop_ms: from a frame to the next.

    Returns:
        The same for shift 0. Otherwise strips have a tile less for each recording, and some have
        none.
    """
    if shift == 0:
        return columns
    strips, recordings, labels = columns.strip_of_tile, columns.recordings.codes, columns.labels
    together = np.ones(max(len(labels) - 1, 0), np.bool_)
    for values in (strips, recordings, labels):
        together &= values[1:] == values[:-1]
    (first,) = np.nonzero(together)
    return dataclasses.replace(
        columns,
        log_mel=_joined(columns.log_mel, first, shift),
        loudest=_joined(columns.loudest, first, shift),
        recordings=columns.recordings.take(first),
        start_ms=np.rint(columns.start_ms[first] + shift * hop_ms).astype(np.int64),
        labels=labels[first],
        n_tiles=np.bincount(strips[first], minlength=len(columns.n_tiles)),
    )


def _joined(
    frames: npt.NDArray[np.float16], first: npt.NDArray[np.integer], shift: int
) -> npt.NDArray[np.float16]:
    """The last frames of some tiles and the first ones of the tiles that follow them."""
    return np.concatenate([frames[first, shift:], frames[first + 1, :shift]], axis=1)
