"""The songs most like a query: scored, filtered, and not too many of one artist."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dem.errors import InputError
from similarity.index.library import Library
from similarity.index.songs import Song
from similarity.measure.hubness import Reduction, reduced, surroundings
from similarity.measure.nearest import best_first, cosines_with
from similarity.measure.scale import similarity
from similarity.search.query import Query
from trainer.metrics.neighbours import unit_rows

_CANDIDATES, _FEWEST_CANDIDATES = 20, 200  # that a graph finds, for each result
_WEIGHT_AGAINST = 0.5  # of songs that results shall not resemble (Rocchio 1971)
SAME_SOUND = 1 - 1e-4  # cosine of two encodings of one recording
SAME_LENGTH = 0.02  # relative difference of their lengths

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Condition:
    """A column and what its values must meet."""

    column: str
    holds: Callable[[object], bool]


@dataclass(frozen=True)
class Wish:
    """What results must be.

    Attributes:
        count: how many.
        per_artist: at most so many of an artist; None: any number.
        per_album: likewise.
        no_duplicates: whether a recording is left out that sounds as another result or the query.
        where: conditions on columns, all of which must hold.
        reduction: how hubs are reduced.
        approximate: whether only songs that a graph finds are compared, if they are enough.
    """

    count: int = 10
    per_artist: int | None = None
    per_album: int | None = None
    no_duplicates: bool = False
    where: tuple[Condition, ...] = ()
    reduction: Reduction = "mutual-proximity"
    approximate: bool = False


@dataclass(frozen=True)
class Result:
    """A song that was found, and its similarity to the query, 0 to 1."""

    song: Song
    row: int
    similarity: float


def query_vector(queries: Sequence[Query], against: Sequence[Query]) -> Floats:
    """Combine songs to one vector of length one: their mean, less half the mean of those against.

    After Rocchio, "Relevance feedback in information retrieval" (1971).
    """
    mean = np.mean([query.unit for query in queries], axis=0)
    if against:
        mean = mean - _WEIGHT_AGAINST * np.mean([query.unit for query in against], axis=0)
    return unit_rows(mean)


def find_similar(
    queries: Sequence[Query], library: Library, wish: Wish, against: Sequence[Query] = ()
) -> list[Result]:
    """Find the songs most like the queries and unlike those `against`; fewer if there are none.

    The queries themselves are never results.
    """
    vector = query_vector(queries, against)
    allowed = rows_where(library, wish.where)
    allowed[[query.row for query in (*queries, *against) if query.row is not None]] = False
    asked = [query.row for query in queries if query.row is not None]
    if wish.approximate:
        rows = _near_rows(library, vector, wish.count)
        found = _best(rows[allowed[rows]], vector, library, wish, asked)
        if len(found) == wish.count:
            return found
    return _best(np.flatnonzero(allowed), vector, library, wish, asked)


def _near_rows(library: Library, vector: Floats, count: int) -> npt.NDArray[np.int64]:
    from similarity.index.graph import keys_of, near_rows

    wanted = max(_FEWEST_CANDIDATES, _CANDIDATES * count)
    return np.unique(near_rows(library.graph, vector, wanted, keys_of(library.recordings)))


def _best(
    rows: npt.NDArray[np.int64], vector: Floats, library: Library, wish: Wish, asked: list[int]
) -> list[Result]:
    """Compare the rows with a vector of length one, and choose."""
    unit = library.unit if len(rows) == len(library) else library.unit[rows]
    cosines = cosines_with(unit, vector)
    scores = reduced(
        cosines,
        surroundings(vector[None], library.reference),
        library.surroundings.of(rows),
        wish.reduction,
    )
    chosen = _Choice(wish, library, asked)
    taken = []
    for place in best_first(scores).tolist():
        if chosen.takes(int(rows[place])):
            chosen.add(int(rows[place]))
            taken.append(place)
            if len(taken) == wish.count:
                break
    alike = similarity(cosines[taken], library.info.largest_distance)
    return [
        Result(song, row, float(value))
        for song, row, value in zip(chosen.songs, chosen.rows, alike, strict=True)
    ]


class _Choice:
    """The results so far, and whether another one may join them."""

    def __init__(self, wish: Wish, library: Library, asked: list[int]) -> None:
        self.rows: list[int] = []
        self.songs: list[Song] = []
        self._wish, self._library, self._asked = wish, library, asked
        self._artists: Counter[str] = Counter()
        self._albums: Counter[tuple[str | None, str]] = Counter()

    def takes(self, row: int) -> bool:
        song = self._library.song(row)
        return (
            _below(self._artists[song.artist or ""], self._wish.per_artist, song.artist)
            and _below(self._albums[_album(song)], self._wish.per_album, song.album)
            and not (self._wish.no_duplicates and self._is_duplicate(row, song))
        )

    def add(self, row: int) -> None:
        song = self._library.song(row)
        self.rows.append(row)
        self.songs.append(song)
        self._artists[song.artist or ""] += 1
        self._albums[_album(song)] += 1

    def _is_duplicate(self, row: int, song: Song) -> bool:
        return any(
            same_sound(song, self._library.song(other), float(self._cosine(row, other)))
            for other in (*self._asked, *self.rows)
        )

    def _cosine(self, one: int, other: int) -> float:
        return float(self._library.unit[one] @ self._library.unit[other])


def same_sound(one: Song, other: Song, cosine: float) -> bool:
    """Whether two songs are one recording: equal samples, or vectors and lengths nearly so."""
    if one.samples_sha256 and one.samples_sha256 == other.samples_sha256:
        return True
    shorter, longer = sorted((one.seconds, other.seconds))
    return cosine > SAME_SOUND and longer - shorter <= SAME_LENGTH * longer


def _below(count: int, most: int | None, name: str | None) -> bool:
    """Whether one more is allowed; songs of unknown artist or album are not limited."""
    return most is None or not name or count < most


def _album(song: Song) -> tuple[str | None, str]:
    return song.artist, song.album or ""


def rows_where(library: Library, conditions: Sequence[Condition]) -> npt.NDArray[np.bool_]:
    """Mark the songs that meet all conditions: ``[songs]``.

    Raises:
        InputError: there is no such column.
    """
    met = np.ones(len(library), np.bool_)
    for condition in conditions:
        met &= np.fromiter(map(condition.holds, library.column(condition.column)), np.bool_)
    return met


def parse_condition(text: str) -> Condition:
    """Parse ``key=value``, ``key!=value``, or a range ``key=low..high`` with one end or both.

    Text is compared without regard to case; an unknown value meets no ``=`` and every ``!=``.

    Raises:
        InputError: it is no condition.
    """
    key, equals, value = text.partition("=")
    negated = key.endswith("!")
    key = key.removesuffix("!")
    if not (key and equals):
        raise InputError(f"--where takes key=value, key!=value or key=low..high, not {text!r}")
    if ".." in value:
        low, high = (_number(end, text) for end in value.split("..", 1))
        return Condition(key, lambda cell: _in_range(cell, low, high) != negated)
    wanted = value.casefold()
    return Condition(key, lambda cell: (str(cell).casefold() == wanted) != negated)


def _number(end: str, text: str) -> float | None:
    try:
        return float(end) if end else None
    except ValueError as error:
        raise InputError(f"--where {text!r}: {end!r} is not a number") from error


def _in_range(cell: object, low: float | None, high: float | None) -> bool:
    try:
        number = float(str(cell))
    except ValueError:
        return False
    return (low is None or number >= low) and (high is None or number <= high)
