"""Frames and pairs one by one, in plain Python: what the index and the draws must agree with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from beam_features.schema.strip import Strip
from trainer.pairs.draw import Rules


@dataclass(frozen=True)
class Frame:
    """A frame, and what it belongs to."""

    context: str
    session: str
    sensor: str
    time: int
    recording: str
    start_ms: int
    label: int
    values: tuple[float, ...]

    def follows(self, other: "Frame") -> bool:
        """Whether this is the next frame of the same context."""
        return self.context == other.context and self.time == other.time + 1


class PlainCorpus:
    """All frames, by context, then time."""

    def __init__(self, strips: Sequence[Strip], silence: float) -> None:
        self.tile_frames = strips[0].log_mel.shape[1]
        contexts = list(dict.fromkeys(strip.context_id for strip in strips))
        order = sorted(strips, key=lambda s: (contexts.index(s.context_id), s.first_tile))
        self.frames = [frame for strip in order for frame in _frames_of(strip)]
        self.loud = [max(frame.values) > silence for frame in self.frames]
        self.segment_of: list[int] = []
        for place, frame in enumerate(self.frames):
            joins = place > 0 and frame.follows(self.frames[place - 1])
            before = self.segment_of[-1] if place else -1
            self.segment_of.append(before if joins else before + 1)
        self.audible = [
            tile
            for tile in range(len(self.frames) // self.tile_frames)
            if any(self.loud[tile * self.tile_frames :][: self.tile_frames])
        ]
        self.cuts = [start for start in range(len(self.frames)) if self._is_cut(start)]
        self._are_cuts = set(self.cuts)

    def _is_cut(self, start: int) -> bool:
        cut = range(start, start + self.tile_frames)
        if cut[-1] >= len(self.frames):
            return False
        where = {(self.segment_of[place], self.frames[place].recording) for place in cut}
        return len(where) == 1 and any(self.loud[place] for place in cut)

    def anchors(self, rules: Rules) -> list[int]:
        """The tiles that are anchors."""
        if rules.in_time:
            return self.audible
        return [tile for tile in self.audible if self.elsewhere(tile * self.tile_frames)]

    def elsewhere(self, start: int) -> list[int]:
        """Cuts of the same instant at other sensors of the session."""
        here = self.frames[start]
        return [
            place
            for place, there in enumerate(self.frames)
            if place in self._are_cuts
            and (there.session, there.time) == (here.session, here.time)
            and there.sensor != here.sensor
        ]

    def draw(self, rules: Rules, tile: int, draws: Sequence[np.float32]) -> tuple[int, int]:
        """Draw the first frames of an anchor and a neighbour."""
        grid, length = tile * self.tile_frames, self.tile_frames
        own = [s for s in self.cuts if self.segment_of[s] == self.segment_of[grid]]
        anchor = _pick(draws[0], [s for s in own if abs(s - grid) <= length // 2])
        near = [s for s in own if 0 < abs(s - anchor) <= rules.neighbourhood_frames]
        apart = [s for s in near if abs(s - anchor) >= length]
        in_time = _pick(draws[1], apart or near or [anchor])
        elsewhere = self.elsewhere(anchor) if rules.at_sensors else []
        if not rules.in_time:
            if not elsewhere:
                anchor, elsewhere = grid, self.elsewhere(grid)
            return anchor, _pick(draws[1], elsewhere)
        return anchor, _pick(draws[1], elsewhere) if elsewhere and draws[2] < 0.5 else in_time


def _pick(draw: np.float32, choices: Sequence[int]) -> int:
    rank = int(draw * np.float32(len(choices)))
    return choices[min(rank, len(choices) - 1)]


def _frames_of(strip: Strip) -> list[Frame]:
    n_tiles, tile_frames, _ = strip.log_mel.shape
    return [
        Frame(
            context=strip.context_id,
            session=strip.session_id,
            sensor=strip.sensor_id,
            time=(strip.first_tile + tile) * tile_frames + frame,
            recording=strip.recording_ids[tile],
            start_ms=strip.start_ms[tile],
            label=strip.labels[tile],
            values=tuple(strip.log_mel[tile, frame].tolist()),
        )
        for tile in range(n_tiles)
        for frame in range(tile_frames)
    ]
