"""Anchors and neighbours from strips: pure functions of tensors and seeds.

A cut is a tile's worth of consecutive frames from any frame on, not only on the grid of tiles. It
is admissible if it lies within one recording of one strip and is not entirely silent.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

_N_DRAWS = 3  # uniform ones per anchor: its start, its neighbour's, and which kind of neighbour


@dataclass(frozen=True)
class Sampling:
    """What a neighbour is.

    Attributes:
        neighbourhood_frames: maximum distance between the starts of an anchor and a neighbour.
        in_time: neighbours lie near in time, in the same strip.
        at_sensors: neighbours are the same instant at other sensors.
        silence: frames whose loudest value is not above it are silent.
    """

    neighbourhood_frames: int
    in_time: bool
    at_sensors: bool
    silence: float


def sample_pairs(
    group: dict[str, tf.Tensor], sampling: Sampling, seed: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Draw an anchor around every audible tile, and a neighbour of it.

    Anchors start at most half a tile before or after their tile. Neighbours in time are drawn
    uniformly from the admissible cuts that start at most `neighbourhood_frames` away and share no
    frame with the anchor; if there are none, from those that overlap it; a lone tile becomes its
    own neighbour, which only augmentation distinguishes. Neighbours at sensors are drawn uniformly
    from the other sensors that recorded the same frames. With both kinds, each is preferred for
    half of the anchors, and the other is used if there is none of it. With sensors alone, an anchor
    that only one of them recorded is dropped.

    Args:
        group: strips of one session, concatenated. Per tile ``log_mel`` ``[n_tiles, tile_frames,
            n_mels]``, ``recording``, ``label``; per strip ``n_tiles``, ``first_tile`` in the
            session's timeline, ``sensor``; numbers that are equal for equal ids.
        sampling: what a neighbour is.
        seed: integers ``[2]``.

    Returns:
        ``anchors`` and ``neighbours`` ``[n_pairs, tile_frames, n_mels]``, ``labels`` ``[n_pairs,
        2]`` of both, and ``starts`` ``[n_pairs, 2]``: their first frames among the group's.
    """
    log_mel = group["log_mel"]
    tile_frames, n_mels = log_mel.shape[1], log_mel.shape[2]
    strips = _Strips.of(group, tile_frames)
    frames = tf.reshape(log_mel, [-1, n_mels])
    audible = tf.reduce_max(tf.cast(log_mel, tf.float32), axis=2) > sampling.silence
    cuts = _Cuts.of(audible, _runs(group["recording"], strips.of_tile))

    tiles = tf.boolean_mask(tf.range(tf.shape(log_mel)[0]), tf.reduce_any(audible, axis=1))
    draws = tf.random.stateless_uniform([tf.shape(log_mel)[0], _N_DRAWS], seed)
    draws = tf.gather(draws, tiles)
    home = tf.gather(strips.of_tile, tiles)
    first, end = tf.gather(strips.first, home), tf.gather(strips.end, home)

    jitter = tile_frames // 2
    grid = tiles * tile_frames
    near = tf.maximum(grid - jitter, first), tf.minimum(grid + jitter + 1, end)
    anchors, _ = cuts.draw([near], draws[:, 0])

    neighbours, found = anchors, tf.zeros_like(tiles, tf.bool)
    if sampling.in_time:
        neighbours = _draw_in_time(cuts, anchors, first, end, tile_frames, sampling, draws[:, 1])
        found = tf.ones_like(tiles, tf.bool)
    if sampling.at_sensors:
        elsewhere, recorded = _draw_at_sensors(cuts, strips, anchors, home, draws[:, 1])
        use = recorded & (draws[:, 2] < 0.5) if sampling.in_time else recorded
        neighbours, found = tf.where(use, elsewhere, neighbours), found | recorded

    starts = tf.boolean_mask(tf.stack([anchors, neighbours], axis=1), found)  # [n_pairs, 2]
    pairs = tf.gather(frames, starts[:, :, None] + tf.range(tile_frames))
    pairs = tf.ensure_shape(pairs, [None, 2, tile_frames, n_mels])
    # A cut begins in a tile of its recording, whose label is thereby the cut's.
    labels = tf.gather(group["label"], starts // tile_frames)
    return {
        "anchors": pairs[:, 0],
        "neighbours": pairs[:, 1],
        "labels": tf.ensure_shape(labels, [None, 2]),
        "starts": starts,
    }


def _draw_in_time(
    cuts: "_Cuts",
    anchors: tf.Tensor,
    first: tf.Tensor,
    end: tf.Tensor,
    tile_frames: int,
    sampling: Sampling,
    draws: tf.Tensor,
) -> tf.Tensor:
    earliest = tf.maximum(anchors - sampling.neighbourhood_frames, first)
    latest = tf.minimum(anchors + sampling.neighbourhood_frames + 1, end)
    apart = [(earliest, anchors - tile_frames + 1), (anchors + tile_frames, latest)]
    overlapping = [(earliest, anchors), (anchors + 1, latest)]
    neighbours, found = cuts.draw(apart, draws)
    closer, found_closer = cuts.draw(overlapping, draws)
    return tf.where(found, neighbours, tf.where(found_closer, closer, anchors))


def _draw_at_sensors(
    cuts: "_Cuts", strips: "_Strips", anchors: tf.Tensor, home: tf.Tensor, draws: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """First frames of the same instant in strips of other sensors, and whether there is one."""
    moved = (strips.first - strips.time)[None, :] - tf.gather(strips.first - strips.time, home)[
        :, None
    ]
    starts = anchors[:, None] + moved  # [n, n_strips]
    within = (starts >= strips.first) & (starts < strips.end)
    other = tf.gather(strips.sensor, home)[:, None] != strips.sensor[None, :]
    recorded = within & other & cuts.are_admissible(starts)
    ranks = tf.cumsum(tf.cast(recorded, tf.int32), axis=1)  # 1 for the first sensor
    count = ranks[:, -1]
    wanted = tf.cast(draws * tf.cast(count, tf.float32), tf.int32) + 1
    chosen = tf.argmax(tf.cast(recorded & (ranks == wanted[:, None]), tf.int32), axis=1)
    return tf.gather(starts, chosen, batch_dims=1), count > 0


@dataclass(frozen=True)
class _Strips:
    """Where each strip lies: frames among the group's, and in the session's timeline."""

    of_tile: tf.Tensor  # [n_tiles], number of its strip
    first: tf.Tensor  # [n_strips]
    end: tf.Tensor
    time: tf.Tensor  # frame of the timeline at which it begins
    sensor: tf.Tensor

    @classmethod
    def of(cls, group: dict[str, tf.Tensor], tile_frames: int) -> "_Strips":
        n_tiles = tf.cast(group["n_tiles"], tf.int32)
        end = tf.cumsum(n_tiles) * tile_frames
        return cls(
            of_tile=tf.repeat(tf.range(tf.shape(n_tiles)[0]), n_tiles),
            first=end - n_tiles * tile_frames,
            end=end,
            time=tf.cast(group["first_tile"], tf.int32) * tile_frames,
            sensor=group["sensor"],
        )


def _runs(recordings: tf.Tensor, strips: tf.Tensor) -> tf.Tensor:
    """Numbers ``[n_tiles]`` that change where the recording or the strip does."""
    change = (recordings[1:] != recordings[:-1]) | (strips[1:] != strips[:-1])
    return tf.pad(tf.cumsum(tf.cast(change, tf.int32)), [[1, 0]])


@dataclass(frozen=True)
class _Cuts:
    """Admissible first frames, as the count of them before each frame ``[n_frames + 1]``."""

    before: tf.Tensor

    @classmethod
    def of(cls, audible: tf.Tensor, runs: tf.Tensor) -> "_Cuts":
        """Find the admissible cuts.

        Args:
            audible: per frame ``[n_tiles, tile_frames]``.
            runs: per tile, equal where a cut may cover both.
        """
        tile_frames = audible.shape[1]
        run = tf.repeat(runs, tile_frames)
        heard = tf.pad(tf.cumsum(tf.cast(tf.reshape(audible, [-1]), tf.int32)), [[1, 0]])
        whole = run[: -tile_frames + 1 or None] == run[tile_frames - 1 :]
        loud = heard[tile_frames:] > heard[:-tile_frames]
        admissible = tf.pad(tf.cast(whole & loud, tf.int32), [[1, tile_frames - 1]])
        return cls(tf.cumsum(admissible))

    def are_admissible(self, starts: tf.Tensor) -> tf.Tensor:
        """Whether cuts may start there; arbitrary outside of the frames."""
        starts = tf.clip_by_value(starts, 0, tf.shape(self.before)[0] - 2)
        return tf.gather(self.before, starts + 1) > tf.gather(self.before, starts)

    def draw(
        self, spans: list[tuple[tf.Tensor, tf.Tensor]], draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw uniformly from the admissible starts in spans, and return whether there are any.

        Args:
            spans: first starts and ends ``[n]``; a span that ends before it begins is empty.
            draws: uniform in [0, 1) ``[n]``.
        """
        n_frames = tf.shape(self.before)[0] - 1
        total: Any = tf.zeros_like(draws, tf.int32)
        counts = []
        for first, end in spans:
            begin, stop = (
                tf.gather(self.before, tf.clip_by_value(x, 0, n_frames)) for x in (first, end)
            )
            counts.append((begin, tf.maximum(stop - begin, 0)))
            total += counts[-1][1]
        wanted = tf.cast(draws * tf.cast(total, tf.float32), tf.int32)  # rank in all spans
        rank = tf.zeros_like(wanted)
        for begin, count in counts:
            rank = tf.where((wanted >= 0) & (wanted < count), begin + wanted, rank)
            wanted -= count
        # The frame after which the count exceeds the rank is the one of that rank.
        starts = tf.searchsorted(self.before, rank, side="right") - 1
        return tf.minimum(starts, n_frames - 1), total > 0
