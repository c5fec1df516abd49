"""The order of songs in which each is like the next: a short open path through all of them.

A greedy path, then 2-opt and Or-opt moves over lists of near songs (Lin, Bell Syst. Tech. J. 44,
1965; Or, thesis, 1976), then kicks: a random double bridge among near positions, kept where the
moves that follow make the path shorter (iterated local search, Johnson and McGeoch, "The traveling
salesman problem: a case study", 1997). Songs of one artist that are nearer than the wanted gap cost
more than any detour, inside of every move.
"""

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
from scipy.spatial.distance import squareform

_NEAR_SONGS = 12
_LONGEST_SEGMENT = 3  # of an Or-opt move
_KICKS_PER_SONG = 5
_KICK_SPAN = 50  # positions
_EPSILON = 1e-9

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Ends:
    """Songs that must be first or last; None: any."""

    first: int | None = None
    last: int | None = None


@dataclass
class Spacing:
    """At least `gap` songs must lie between two of one artist.

    Attributes:
        artists: number of each song's artist, -1 where it is unknown.
        gap: how many songs.
        price: of a pair that is too near; more than any detour.
    """

    artists: Sequence[int]
    gap: int
    price: float

    def cost(self, songs: Sequence[int]) -> float:
        """Price of the pairs that are too near in a part of the order."""
        if not self.gap:
            return 0.0
        artists = [self.artists[song] for song in songs]
        pairs = sum(
            artist >= 0 and artist in artists[place + 1 : place + 1 + self.gap]
            for place, artist in enumerate(artists)
        )
        return pairs * self.price


def length(order: Sequence[int], distances: Floats) -> float:
    """Sum of the distances from each song to the next."""
    rows = np.asarray(order, np.int64)
    return float(distances[rows[:-1], rows[1:]].sum())


def shortest_order(
    distances: Floats,
    ends: Ends | None = None,
    artists: Sequence[int] | None = None,
    gap: int = 0,
    seed: int = 0,
    kicks: int | None = None,
) -> list[int]:
    """Order songs so that the sum of the distances from each to the next is small.

    Args:
        distances: ``[n, n]``, symmetric.
        ends: songs with a fixed place.
        artists: number of each song's artist, -1 where it is unknown; None: nobody is known.
        gap: how many songs shall lie between two of one artist.
        seed: of the kicks.
        kicks: how many; None: 5 per song.

    Returns:
        A permutation of 0 to n - 1.
    """
    ends = ends or Ends()
    n = len(distances)
    if n < 3:
        return greedy_order(distances, ends)
    artists = [-1] * n if artists is None else artists
    spacing = Spacing(artists, gap, 2 * float(distances.max()) * n if gap else 0.0)
    walk = _Walk(greedy_order(distances, ends, spacing), distances, ends, spacing)
    walk.improve(range(n))
    walk.repair()
    walk.kick(random.Random(seed), _KICKS_PER_SONG * n if kicks is None else kicks)  # noqa: S311
    walk.repair()
    return walk.order


def greedy_order(distances: Floats, ends: Ends, spacing: Spacing | None = None) -> list[int]:
    """Start at the first song, or one end of the longest distance, and go to the nearest unused.

    Songs whose artist is too near are passed over while there are others.
    """
    artists = np.array(spacing.artists) if spacing and spacing.gap else None
    n = len(distances)
    if n == 0:
        return []
    free = np.ones(n, np.bool_)
    if ends.last is not None and ends.last != ends.first:
        free[ends.last] = False
    start = ends.first
    if start is None:
        start = int(np.where(free, distances.max(axis=1), -np.inf).argmax())
    order = [start]
    free[start] = False
    for _ in range(np.count_nonzero(free)):
        allowed = free
        if spacing is not None and artists is not None:
            recent = [a for a in artists[order[-spacing.gap :]].tolist() if a >= 0]
            allowed = free & ~np.isin(artists, recent)
            allowed = allowed if allowed.any() else free
        order.append(int(np.where(allowed, distances[order[-1]], np.inf).argmin()))
        free[order[-1]] = False
    if ends.last is not None and ends.last != start:
        order.append(ends.last)
    return order


def leaf_order(distances: Floats) -> list[int]:
    """Order songs by the optimal order of the leaves of their average-linkage tree (SciPy)."""
    if len(distances) < 3:
        return list(range(len(distances)))
    condensed = squareform(np.maximum(distances, 0), checks=False)
    tree = optimal_leaf_ordering(linkage(condensed, "average"), condensed)
    return [int(leaf) for leaf in leaves_list(tree)]


@dataclass
class _Walk:
    """An order under improvement."""

    order: list[int]
    distances: Floats
    ends: Ends
    spacing: Spacing
    _place: list[int] = field(init=False)
    _near: list[list[int]] = field(init=False)

    def __post_init__(self) -> None:
        n = len(self.order)
        self._d = memoryview(np.ascontiguousarray(self.distances, np.float64))  # type: ignore[arg-type]
        self._place = [0] * n
        self._renumber(0, n)
        k = min(_NEAR_SONGS + 1, n)
        near = np.argpartition(self.distances, k - 1, axis=1)[:, :k]
        by_distance = np.take_along_axis(self.distances, near, axis=1).argsort(axis=1)
        rows = np.take_along_axis(near, by_distance, axis=1).tolist()
        self._near = [[other for other in row if other != song] for song, row in enumerate(rows)]
        self._low = 0 if self.ends.first is None else 1
        self._high = n - 1 if self.ends.last is None else n - 2
        self.cost = self._total()

    def improve(self, songs: Sequence[int]) -> None:
        """Make moves that help until none of the songs, or of those that moved, has one."""
        waiting = list(songs)
        is_waiting = set(waiting)
        while waiting:
            song = waiting.pop()
            is_waiting.discard(song)
            while (moved := self._move(song)) is not None:
                for other in moved:
                    if other not in is_waiting:
                        is_waiting.add(other)
                        waiting.append(other)

    def kick(self, source: random.Random, kicks: int) -> None:
        """Exchange two neighbouring parts at a random place; undo it unless moves repair it."""
        span = min(_KICK_SPAN, self._high - self._low + 1)
        if span < 4:
            return
        for _ in range(kicks):
            order, place, cost = self.order[:], self._place[:], self.cost
            start = source.randint(self._low, self._high + 1 - span)
            self._exchange(*sorted(source.sample(range(start, start + span + 1), 3)))
            if self.cost >= cost - _EPSILON:
                self.order, self._place, self.cost = order, place, cost

    def _exchange(self, a: int, b: int, c: int) -> None:
        """Exchange the parts from place a and from place b, up to place c; then improve."""
        cuts = (a, a + c - b, c)
        before = self._edge(a - 1, a) + self._edge(b - 1, b) + self._edge(c - 1, c)
        new = self.order[b:c] + self.order[a:b]
        self.cost += self._spacing_change(a, c, new) - before
        self.order[a:c] = new
        self._renumber(a, c)
        self.cost += sum(self._edge(cut - 1, cut) for cut in cuts)
        edges = {p for cut in cuts for p in (cut - 1, cut) if 0 <= p < len(self.order)}
        self.improve([self.order[p] for p in edges])

    def repair(self) -> None:
        """Move songs that are too near to another of their artist to the best other place."""
        if not self.spacing.gap:
            return
        for song in list(self.order):
            if self._too_near(self._place[song]):
                self._relocate(song)

    def _total(self) -> float:
        return length(self.order, self.distances) + self.spacing.cost(self.order)

    def _renumber(self, first: int, last: int) -> None:
        for place in range(first, last):
            self._place[self.order[place]] = place

    def _edge(self, one: int, other: int) -> float:
        """Distance between the songs at two places; 0 beyond an end."""
        if one < 0 or other >= len(self.order):
            return 0.0
        return float(self._d[self.order[one], self.order[other]])

    def _move(self, song: int) -> set[int] | None:
        """Make the first move that brings the song beside a near one; return who moved."""
        place = self._place[song]
        for i, j in self._reversals(place, song):
            if self._low <= i < j <= self._high and self._try_reversal(i, j):
                return self._around(i, j)
        for segment in range(1, _LONGEST_SEGMENT + 1):
            for first in {place, place - segment + 1}:
                moved = self._try_insertion(first, segment, song)
                if moved:
                    return moved
        return None

    def _reversals(self, place: int, song: int) -> Iterator[tuple[int, int]]:
        """Yield parts whose reversal makes a near song the next or the one before."""
        after, before = self._edge(place, place + 1), self._edge(place - 1, place)
        for other in self._near[song]:
            distance, there = float(self._d[song, other]), self._place[other]
            if distance >= max(after, before):
                return
            if distance < after:
                yield (place + 1, there) if place < there else (there + 1, place)
            if distance < before:
                yield (there, place - 1) if there < place else (place, there - 1)

    def _try_reversal(self, i: int, j: int) -> bool:
        order = self.order
        change = self._beyond(order[j], i - 1) + self._beyond(order[i], j + 1)
        change -= self._edge(i - 1, i) + self._edge(j, j + 1)
        gap = self.spacing.gap
        if gap and change < -_EPSILON:
            left, right = max(i - gap, 0), min(j + 1 + gap, len(order))
            old = order[left:right]
            new = order[left:i] + order[i : j + 1][::-1] + order[j + 1 : right]
            change += self.spacing.cost(new) - self.spacing.cost(old)
        if change >= -_EPSILON:
            return False
        self.cost += change
        order[i : j + 1] = order[i : j + 1][::-1]
        self._renumber(i, j + 1)
        return True

    def _beyond(self, song: int, place: int) -> float:
        """Distance between a song and the one at a place; 0 beyond an end."""
        return float(self._d[song, self.order[place]]) if 0 <= place < len(self.order) else 0.0

    def _try_insertion(self, first: int, segment: int, song: int) -> set[int] | None:
        """Move a part of the order that begins or ends with `song` beside a near song."""
        order, last = self.order, first + segment - 1
        if first < self._low or last > self._high:
            return None
        gain = self._edge(first - 1, first) + self._edge(last, last + 1)
        gain -= 0.0 if first == 0 or last == len(order) - 1 else self._edge(first - 1, last + 1)
        for other in self._near[song]:
            there = self._place[other]
            if float(self._d[song, other]) >= gain + _EPSILON:
                break
            if first <= there <= last:
                continue
            for before in (there, there + 1):  # the part goes in front of this place
                if first <= before <= last + 1 or not self._low <= before <= self._high + 1:
                    continue
                moved = self._insert(first, last, before, song, gain)
                if moved:
                    return moved
        return None

    def _insert(
        self, first: int, last: int, before: int, song: int, gain: float
    ) -> set[int] | None:
        order, part = self.order, self.order[first : last + 1]
        is_next = before < len(order) and order[before] in self._near[song]
        beside_right = is_next and order[before - 1] not in self._near[song]
        wants_last = beside_right == (part[-1] == song)
        candidates = [part if wants_last else part[::-1], part[::-1] if wants_last else part]
        closed = self._edge(before - 1, before) if 0 < before < len(order) else 0.0
        for candidate in candidates[: 1 if len(part) == 1 else 2]:
            change = self._beyond(candidate[0], before - 1) + self._beyond(candidate[-1], before)
            change -= closed + gain
            if change >= -_EPSILON:
                continue
            low, high = min(first, before), max(last + 1, before)
            new = (
                candidate + order[before:first]
                if before < first
                else order[last + 1 : before] + candidate
            )
            change += self._spacing_change(low, high, new)
            if change < -_EPSILON:
                self.cost += change
                order[low:high] = new
                self._renumber(low, high)
                return self._around(low, high - 1) | set(part)
        return None

    def _spacing_change(self, low: int, high: int, new: list[int]) -> float:
        gap, order = self.spacing.gap, self.order
        if not gap:
            return 0.0
        left, right = max(low - gap, 0), min(high + gap, len(order))
        changed = order[left:low] + new + order[high:right]
        return self.spacing.cost(changed) - self.spacing.cost(order[left:right])

    def _around(self, i: int, j: int) -> set[int]:
        places = itertools.chain(range(i - 1, i + 2), range(j - 1, j + 2))
        return {self.order[place] for place in places if 0 <= place < len(self.order)}

    def _too_near(self, place: int) -> bool:
        gap, artist = self.spacing.gap, self.spacing.artists[self.order[place]]
        others = self.order[max(place - gap, 0) : place] + self.order[place + 1 : place + 1 + gap]
        return artist >= 0 and any(self.spacing.artists[other] == artist for other in others)

    def _relocate(self, song: int) -> None:
        place = self._place[song]
        if not self._low <= place <= self._high:
            return
        rest = self.order[:place] + self.order[place + 1 :]
        best, best_cost = self.order, self._total()
        for before in range(self._low, self._high + 1):
            tried = [*rest[:before], song, *rest[before:]]
            near = tried[max(before - self.spacing.gap, 0) : before + self.spacing.gap + 1]
            if self.spacing.cost(near) < self.spacing.price:
                cost = length(tried, self.distances) + self.spacing.cost(tried)
                if cost < best_cost:
                    best, best_cost = tried, cost
        self.order, self.cost = list(best), best_cost
        self._renumber(0, len(best))
