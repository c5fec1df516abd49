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
    used = np.zeros(len(unit), np.bool_)
    used[list(stops)] = True
    crowding = np.full(len(unit), -1.0)
    np.maximum(crowding, unit @ unit[stops[0]], out=crowding)
    order = [stops[0]]
    between = np.diff(np.linspace(0, count - len(stops), len(stops)).round().astype(int))
    for start, end, n_steps in zip(stops, stops[1:], between.tolist(), strict=False):
        for share in np.linspace(0, 1, n_steps + 2)[1:-1]:
            step = interpolate(unit[start], unit[end], float(share))
            scores = np.where(used, -np.inf, unit @ step - variety * crowding)
            row = int(scores.argmax())
            if used[row]:  # none is left
                break
            used[row] = True
            order.append(row)
            np.maximum(crowding, unit @ unit[row], out=crowding)
        order.append(end)
        np.maximum(crowding, unit @ unit[end], out=crowding)
    return order


def interpolate(start: Floats, end: Floats, share: float) -> Floats:
    """The vector at a share of the arc between two of length one (Shoemake, SIGGRAPH 1985)."""
    angle = float(np.arccos(np.clip(start @ end, -1, 1)))
    if np.sin(angle) < 1e-6:  # equal or opposite: there is no arc of its own
        return start if share < 0.5 else end
    weights = np.sin([(1 - share) * angle, share * angle]) / np.sin(angle)
    vector: Floats = weights[0] * start + weights[1] * end
    return vector
