"""Corpora for tests: opened as training does, or small and random and without files."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from beam_features.schema.strip import Strip
from trainer.config import TrainConfig
from trainer.data.columns import Columns
from trainer.data.features import Features
from trainer.store.fill import Frames
from trainer.store.index import Index, index_columns
from trainer.train.corpus import Corpus, open_corpus
from trainer.train.resolve import resolve_config

TILE_FRAMES, N_MELS = 4, 2
SILENCE, QUIET, LOUD = -13.0, -13.8, 1.0


def corpus_of(features: Features, **settings: object) -> Corpus:
    """What a run with these settings trains on."""
    return open_corpus(features, resolve_config(TrainConfig(**settings), features))


def allocate(shape: tuple[int, int]) -> Frames:
    """Make room for frames."""
    return np.zeros(shape, np.float16)


def loud_frames(columns: Columns) -> npt.NDArray[np.bool_]:
    """Frames that are above `SILENCE` ``[n_tiles, tile_frames]``."""
    return columns.loudest.astype(np.float32) > SILENCE


def index_strips(strips: Sequence[Strip]) -> Index:
    """Index strips as those of one shard."""
    columns = Columns.of(strips, strips[0].log_mel.shape[1:])
    index, _ = index_columns(columns, loud_frames(columns))
    return index


def make_strip(
    context: str,
    first_tile: int,
    recordings: Sequence[str],
    *,
    session: str | None = None,
    sensor: str = "",
    quiet: npt.NDArray[np.bool_] | None = None,
    labels: Sequence[int] | None = None,
    tile_frames: int = TILE_FRAMES,
) -> Strip:
    """Make a strip of a tile per name of a recording; `quiet` says which frames are silent."""
    n_tiles = len(recordings)
    frames = np.full((n_tiles * tile_frames, N_MELS), LOUD, np.float16)
    if quiet is not None:
        frames[quiet] = QUIET
    return Strip(
        context_id=context,
        session_id=context if session is None else session,
        sensor_id=sensor,
        first_tile=first_tile,
        log_mel=frames.reshape(n_tiles, tile_frames, N_MELS),
        recording_ids=tuple(recordings),
        start_ms=tuple(range(n_tiles)),
        labels=tuple(labels or [0] * n_tiles),
    )


def random_strips(rng: np.random.Generator) -> list[Strip]:
    """Make sessions of one to three sensors, with gaps, silence and several recordings.

    As the feature job does it, strips of the contexts of a session are sorted by time, and end at
    points that all timelines share, here at every fifth tile.
    """
    strips = []
    for session in range(rng.integers(2, 5)):
        begin = int(rng.integers(0, 3))
        own = [
            strip
            for sensor in range(rng.integers(1, 4))
            for strip in _timeline(rng, f"s{session}", f"m{sensor}", begin)
        ]
        strips += sorted(own, key=lambda strip: (strip.first_tile // 5, strip.context_id))
    return strips


def _timeline(
    rng: np.random.Generator, session: str, sensor: str, begin: int, length: int = 13
) -> list[Strip]:
    """The strips of a context: of its tiles some are missing."""
    there = rng.random(length) < 0.8
    names = np.cumsum(rng.random(length) < 0.2)
    cuts = [0, *(t for t in range(1, length) if (begin + t) % 5 == 0 or not there[t]), length]
    strips = []
    for first, end in pairwise(cuts):
        tiles = [tile for tile in range(first, end) if there[tile]]
        if not tiles:
            continue
        quiet = np.repeat(rng.random(len(tiles)) < 0.2, TILE_FRAMES)
        quiet |= rng.random(quiet.shape) < 0.3
        recordings = [f"{session} {sensor} {names[tile]}" for tile in tiles]
        strips.append(
            make_strip(
                f"{session} {sensor}",
                begin + tiles[0],
                recordings,
                session=session,
                sensor=sensor,
                quiet=quiet,
                labels=rng.integers(-1, 3, len(tiles)).tolist(),
            )
        )
    return strips
