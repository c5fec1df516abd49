"""Anchors and neighbours: pure functions of an index, places and uniform random numbers.

A tile of a pair is a cut, described by its first frame; `trainer.store.index` says which cuts are
admissible.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from trainer.store.index import Index
from trainer.store.ranges import RangeLookup, Ranges, last_not_above

N_DRAWS = 3  # uniform ones per pair: its anchor, its neighbour, and which kind of neighbour
_BLOCK = 2**18  # anchors times contexts that are tested for neighbours at once


@dataclass(frozen=True)
class Rules:
    """What a neighbour is.

    Attributes:
        neighbourhood_frames: maximum distance between the starts of an anchor and a neighbour.
        in_time: neighbours lie near in time, in the same segment.
        at_sensors: neighbours are the same instant at other sensors.
    """

    neighbourhood_frames: int
    in_time: bool = True
    at_sensors: bool = False


class PairDraw:
    """Draws pairs from an index.

    Anchors start at most half a tile before or after an audible tile. Neighbours in time are drawn
    uniformly from the admissible cuts that start at most `neighbourhood_frames` away and share no
    frame with the anchor; if there are none, from those that overlap it; a lone tile becomes its
    own neighbour, which only augmentation distinguishes. Neighbours at sensors are drawn uniformly
    from the other contexts of the session that recorded the same frames at another sensor. With
    both kinds, each is preferred for half of the anchors, and the other is used if there is none of
    it. With sensors alone, tiles that only one of them recorded are no anchors.
    """

    def __init__(self, index: Index, rules: Rules) -> None:
        self._rules, self._tile_frames = rules, index.tile_frames
        self._cuts = RangeLookup(index.cuts)
        with tf.device("CPU:0"):
            self._first = tf.constant(index.first)
            self._labels = tf.constant(index.labels, tf.int64)
            self._session = tf.constant(index.sessions.codes, tf.int64)
        self._others = _OtherSensors(index, self._cuts) if rules.at_sensors else None
        tiles = index.audible
        elsewhere = self._recorded_elsewhere(tiles)
        self.n_elsewhere = len(elsewhere)
        """How many audible tiles another sensor recorded, too."""
        if not rules.in_time:
            tiles = elsewhere
        self.n_anchors = len(tiles)
        """How many tiles are anchors."""
        self._tiles = RangeLookup(tiles)

    def draw(self, places: tf.Tensor, draws: tf.Tensor) -> dict[str, tf.Tensor]:
        """Draw a pair for each place among the anchors.

        Args:
            places: int64 ``[n]``, from 0 to `n_anchors` - 1.
            draws: uniform in [0, 1), float32 ``[n, N_DRAWS]``.

        Returns:
            ``starts`` ``[n, 2]``: the first frames of anchor and neighbour; ``sessions`` ``[n]``;
            and ``labels`` ``[n, 2]``; all int64.
        """
        grid = self._tiles.at(places) * self._tile_frames
        segment = last_not_above(self._first, grid)
        first, end = tf.gather(self._first, segment), tf.gather(self._first, segment + 1)
        jitter = self._tile_frames // 2
        near = tf.maximum(grid - jitter, first), tf.minimum(grid + jitter + 1, end)
        anchors, _ = self._choose([near], draws[:, 0])
        neighbours = anchors
        if self._rules.in_time:
            neighbours = self._near_in_time(anchors, first, end, draws[:, 1])
        if self._others is not None:
            elsewhere, recorded = self._others.choose(anchors, segment, draws[:, 1])
            if self._rules.in_time:
                recorded &= draws[:, 2] < 0.5
            else:  # the tile itself was recorded elsewhere, though not the cut beside it
                from_grid, _ = self._others.choose(grid, segment, draws[:, 1])
                anchors = tf.where(recorded, anchors, grid)
                elsewhere, recorded = tf.where(recorded, elsewhere, from_grid), True
            neighbours = tf.where(recorded, elsewhere, neighbours)
        starts = tf.stack([anchors, neighbours], axis=1)
        # A cut begins in a tile of its recording, whose label is thereby the cut's.
        labels = tf.gather(self._labels, starts // self._tile_frames)
        return {"starts": starts, "sessions": tf.gather(self._session, segment), "labels": labels}

    def _near_in_time(
        self, anchors: tf.Tensor, first: tf.Tensor, end: tf.Tensor, draws: tf.Tensor
    ) -> tf.Tensor:
        reach, length = self._rules.neighbourhood_frames, self._tile_frames
        earliest = tf.maximum(anchors - reach, first)
        latest = tf.minimum(anchors + reach + 1, end)
        apart = [(earliest, anchors - length + 1), (anchors + length, latest)]
        overlapping = [(earliest, anchors), (anchors + 1, latest)]
        neighbours, found = self._choose(apart, draws)
        closer, found_closer = self._choose(overlapping, draws)
        return tf.where(found, neighbours, tf.where(found_closer, closer, anchors))

    def _choose(
        self, spans: list[tuple[tf.Tensor, tf.Tensor]], draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Choose an admissible start in spans from a first frame up to, not including, an end.

        Returns:
            The starts ``[n]``, and whether there are any.
        """
        counts, total = [], tf.zeros_like(spans[0][0])
        for first, end in spans:
            begin = self._cuts.below(first)
            counts.append((begin, tf.maximum(self._cuts.below(end) - begin, 0)))
            total += counts[-1][1]
        wanted = rank_of(draws, total)  # in all spans
        rank = tf.zeros_like(wanted)
        for begin, count in counts:
            rank = tf.where((wanted >= 0) & (wanted < count), begin + wanted, rank)
            wanted -= count
        return self._cuts.at(rank), total > 0

    def _recorded_elsewhere(self, tiles: Ranges) -> Ranges:
        """Those of the tiles that another sensor recorded, too."""
        if self._others is None:
            return Ranges.where(np.zeros(0, np.bool_))
        numbers = tiles.numbers()
        mask = np.zeros(int(numbers.max(initial=-1)) + 1, np.bool_)
        size = max(_BLOCK // max(self._others.most, 1), 1)
        for begin in range(0, len(numbers), size):
            block = numbers[begin : begin + size]
            frames = tf.constant(block * self._tile_frames)
            segments = last_not_above(self._first, frames)
            _, recorded = self._others.choose(frames, segments, tf.zeros([len(block)]))
            mask[block] = recorded.numpy()
        return Ranges.where(mask)


class _OtherSensors:
    """Finds cuts of the same instant in other contexts of a session.

    Contexts are numbered so that those of a session follow each other. Of each, at most one segment
    covers an instant. A key sorts segments by context, then time since the session's first frame.
    """

    def __init__(self, index: Index, cuts: RangeLookup) -> None:
        sessions, contexts = index.sessions.codes, index.contexts.codes
        n_contexts = len(index.contexts.names)
        session_of = np.zeros(n_contexts, np.int64)
        session_of[contexts] = sessions
        sensor_of = np.zeros(n_contexts, np.int64)
        sensor_of[contexts] = index.sensors.codes
        by_session = np.argsort(session_of, kind="stable")
        number = np.argsort(by_session)  # of a context, among all sorted by session
        begin = np.searchsorted(session_of[by_session], np.arange(len(index.sessions.names) + 1))
        earliest = np.full(len(index.sessions.names), np.iinfo(np.int64).max)
        np.minimum.at(earliest, sessions, index.time)
        time = index.time - earliest[sessions]
        self._span = int((time + np.diff(index.first)).max(initial=1))  # of the longest session
        keys = number[contexts] * self._span + time
        order = np.argsort(keys)
        self._cuts = cuts
        self.most = int(np.diff(begin).max(initial=0))
        """The highest number of contexts of a session."""
        with tf.device("CPU:0"):
            self._keys = tf.constant(keys[order])
            self._segments = tf.constant(order)
            self._first, self._time = tf.constant(index.first), tf.constant(time)
            self._session = tf.constant(sessions, tf.int64)  # of a segment
            self._begin = tf.constant(begin)  # of a session
            self._own_sensor = tf.constant(sensor_of[contexts])  # of a segment
            self._sensor = tf.constant(np.append(sensor_of[by_session], 0))  # of a context

    def choose(
        self, starts: tf.Tensor, segments: tf.Tensor, draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Choose a cut of the same instant at another sensor ``[n]``; and whether there is one."""
        session = tf.gather(self._session, segments)
        first, end = tf.gather(self._begin, session), tf.gather(self._begin, session + 1)
        context = first[:, None] + tf.range(self.most, dtype=tf.int64)  # [n, contexts]
        within = context < end[:, None]
        context = tf.where(within, context, first[:, None])
        instant = starts - tf.gather(self._first, segments) + tf.gather(self._time, segments)
        keys = context * self._span + instant[:, None]
        found = last_not_above(self._keys, keys)
        at_time = tf.gather(self._keys, found)
        same = at_time // self._span == context
        there = tf.gather(self._segments, found)
        frames = tf.gather(self._first, there) + keys - at_time
        covered = frames < tf.gather(self._first, there + 1)
        own = tf.gather(self._own_sensor, segments)[:, None]
        other = tf.gather(self._sensor, context) != own
        recorded = within & same & covered & other & self._cuts.contain(frames)
        ranks = tf.cumsum(tf.cast(recorded, tf.int64), axis=1)  # 1 for the first
        count = ranks[:, -1]
        wanted = rank_of(draws, count) + 1
        chosen = tf.argmax(tf.cast(recorded & (ranks == wanted[:, None]), tf.int32), axis=1)
        return tf.gather(frames, chosen, batch_dims=1), count > 0


def rank_of(draws: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Uniform whole numbers below `count`; 0 where that is 0."""
    ranks = tf.cast(draws * tf.cast(count, tf.float32), count.dtype)
    return tf.clip_by_value(ranks, 0, tf.maximum(count - 1, 0))
