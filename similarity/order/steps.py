"""A path between two songs: evenly spaced steps between their vectors, a near song at each."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


def path_rows(unit: Floats, stops: Sequence[int], count: int, variety: float = 0.0) -> list[int]:
    """Lead from the first stop through the others to the last; every song once.

    At each step the unused song is taken whose cosine with the step's vector, less `variety` times
    its highest cosine with the songs taken so far, is highest: maximal marginal relevance
    (Carbonell and Goldstein, SIGIR 1998).

    Args:
        unit: ``[songs, size]``, rows of length one.
        stops: rows, at least two, all different.
        count: how many songs the path has, ends included; at least as many as stops.
        variety: 0 to 1.
    """
    between = np.diff(np.linspace(0, count - len(stops), len(stops)).round().astype(int)).tolist()
    steps = [
        interpolate(unit[start], unit[end], share)
        for start, end, n_steps in zip(stops, stops[1:], between, strict=False)
        for share in np.linspace(0, 1, n_steps + 2)[1:-1].tolist()
    ]
    size = unit.shape[1]
    nearness = iter((unit @ np.array(steps, unit.dtype).reshape(-1, size).T).T)
    taken = _Taken(unit, stops, variety)
    for end, n_steps in zip(stops[1:], between, strict=True):
        for _ in range(n_steps):
            taken.add_best(next(nearness))
        taken.add(end)
    return taken.order


class _Taken:
    """The songs of a path so far."""

    def __init__(self, unit: Floats, stops: Sequence[int], variety: float) -> None:
        self.order: list[int] = []
        self._unit, self._variety = unit, variety
        self._used = np.zeros(len(unit), np.bool_)
        self._used[list(stops)] = True
        self._crowding = np.full(len(unit), -1.0)
        self.add(stops[0])

    def add(self, row: int) -> None:
        self._used[row] = True
        self.order.append(row)
        if self._variety:
            np.maximum(self._crowding, self._unit @ self._unit[row], out=self._crowding)

    def add_best(self, nearness: Floats) -> None:
        """Add the best unused song, if one is left."""
        scores = np.where(self._used, -np.inf, nearness - self._variety * self._crowding)
        row = int(scores.argmax())
        if not self._used[row]:
            self.add(row)


def interpolate(start: Floats, end: Floats, share: float) -> Floats:
    """The vector at a share of the arc between two of length one (Shoemake, SIGGRAPH 1985)."""
    angle = float(np.arccos(np.clip(start @ end, -1, 1)))
    if np.sin(angle) < 1e-6:  # equal or opposite: there is no arc of its own
        return start if share < 0.5 else end
    weights = np.sin([(1 - share) * angle, share * angle]) / np.sin(angle)
    vector: Floats = weights[0] * start + weights[1] * end
    return vector
