"""Orders of songs compared: how alike neighbours are in each."""

import importlib.util
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from similarity.order.tour import Ends, greedy_order, leaf_order, shortest_order

_LEAST_OF_FAST_TSP = 2
_UNITS = 60_000  # fast-tsp takes whole numbers
_ORACLE_S = 2.0

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Steps:
    """Distances from each song of an order to the next, on the scale of 1 - similarity."""

    mean: float
    percentile_95: float


def compare_orders(distances: Floats, seed: int = 0) -> dict[str, Steps]:
    """Measure a random order, a greedy one, that of `dem sort`, and that of a tree's leaves.

    That of fast-tsp, too, if it is installed.

    Args:
        distances: ``[n, n]``, at least two songs.
        seed: of the random order.
    """
    orders: dict[str, Callable[[], Sequence[int]]] = {
        "random": lambda: np.random.default_rng(seed).permutation(len(distances)).tolist(),
        "greedy": lambda: greedy_order(distances, Ends()),
        "sort": lambda: shortest_order(distances),
        "leaves": lambda: leaf_order(distances),
    }
    if importlib.util.find_spec("fast_tsp") and len(distances) > _LEAST_OF_FAST_TSP:
        orders["fast-tsp"] = lambda: oracle_order(distances, _ORACLE_S)
    return {name: _steps(make(), distances) for name, make in orders.items()}


def oracle_order(distances: Floats, seconds: float) -> list[int]:
    """Open path of fast-tsp, which is no dependency: a tour with one more stop, near to all."""
    import fast_tsp

    n = len(distances)
    steps = np.zeros((n + 1, n + 1))
    steps[:n, :n] = distances * (_UNITS / max(float(distances.max()), np.finfo(float).tiny))
    tour: list[int] = fast_tsp.find_tour(steps.astype(int).tolist(), duration_seconds=seconds)
    place = tour.index(n)
    return tour[place + 1 :] + tour[:place]


def _steps(order: Sequence[int], distances: Floats) -> Steps:
    found = [float(distances[one, other]) for one, other in itertools.pairwise(order)]
    return Steps(float(np.mean(found)), float(np.percentile(found, 95)))
