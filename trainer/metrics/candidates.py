"""What a query may find: not rows that are like it only because they were cut from one sound.

Clips of one source, and tiles that follow each other, are alike for any encoder. A measure that
counts them rewards adjacency.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trainer.metrics.neighbours import Ints

Groups = npt.NDArray[np.generic]
Flags = npt.NDArray[np.bool_]
Candidates = Callable[[Ints], Flags]
"""From the numbers of some queries to the rows that each may find: ``[queries, n]``."""


def every_row(n: int) -> Candidates:
    """Leave nothing out but the query itself."""
    return _without_itself(lambda rows: np.ones((len(rows), n), np.bool_))


def of_other_sessions(sessions: Groups) -> Candidates:
    """Leave out the query's session.

    Args:
        sessions: ``[n]``.
    """
    numbers = _numbered(sessions)
    return _without_itself(lambda rows: numbers[rows][:, None] != numbers)


def apart_in_time(contexts: Groups, start_ms: Ints, gap_s: float) -> Candidates:
    """Leave out tiles of the query's context that start less than the gap away from it.

    The gap of a context is at most half of the time from its first start to its last. So a query
    can always find the end of its context that is farther from it, and a context of a few tiles is
    measured by its farthest ones.

    Args:
        contexts: ``[n]``.
        start_ms: where each tile starts in its context ``[n]``.
        gap_s: of long contexts.
    """
    numbers = _numbered(contexts)
    gaps_ms = np.minimum(gap_s * 1000, _spans_ms(numbers, start_ms) / 2)

    def candidates(rows: Ints) -> Flags:
        near = np.abs(start_ms[rows][:, None] - start_ms) < gaps_ms[numbers[rows]][:, None]
        left_out: Flags = near & (numbers[rows][:, None] == numbers)
        return ~left_out

    return _without_itself(candidates)


def starts_in_context(contexts: Groups, recordings: Groups, start_ms: Ints) -> Ints:
    """Where each tile starts in its context, if it is known where it starts in its recording.

    The recordings of a context are put end to end, in the order of their first rows. Pauses between
    them are thereby left out, so tiles are never farther from each other than they were.

    Args:
        contexts: ``[n]``.
        recordings: ``[n]``.
        start_ms: where each tile starts in its recording ``[n]``.
    """
    pairs = np.stack([_numbered(contexts), _numbered(recordings)])
    _, first, ids = np.unique(pairs, axis=1, return_index=True, return_inverse=True)
    starts, ends = np.array(start_ms, np.int64), dict.fromkeys(pairs[0].tolist(), 0)
    for row in np.sort(first).tolist():
        own, context = ids.ravel() == ids.ravel()[row], int(pairs[0, row])
        starts[own] += ends[context]
        ends[context] = int(starts[own].max())
    return starts


def _spans_ms(numbers: Ints, start_ms: Ints) -> Ints:
    """Time from the first start of each context to its last: ``[contexts]``."""
    order = np.lexsort((start_ms, numbers))
    _, first, sizes = np.unique(numbers[order], return_index=True, return_counts=True)
    spans: Ints = start_ms[order][first + sizes - 1] - start_ms[order][first]
    return spans


def _numbered(names: Groups) -> Ints:
    numbers: Ints = np.unique(names, return_inverse=True)[1]
    return numbers


def _without_itself(candidates: Candidates) -> Candidates:
    def others(rows: Ints) -> Flags:
        found = candidates(rows)
        found[np.arange(len(rows)), rows] = False
        return found

    return others
