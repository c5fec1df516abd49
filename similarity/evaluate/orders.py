"""Orders of songs compared: how alike neighbours are in each."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from similarity.order.tour import Ends, greedy_order, leaf_order, shortest_order

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Steps:
    """Distances from each song of an order to the next, on the scale of 1 - similarity."""

    mean: float
    percentile_95: float


def compare_orders(distances: Floats, seed: int = 0) -> dict[str, Steps]:
    """Measure a random order, a greedy one, that of `dem sort`, and that of a tree's leaves.

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
    return {name: _steps(make(), distances) for name, make in orders.items()}


def _steps(order: Sequence[int], distances: Floats) -> Steps:
    found = [float(distances[one, other]) for one, other in itertools.pairwise(order)]
    return Steps(float(np.mean(found)), float(np.percentile(found, 95)))
