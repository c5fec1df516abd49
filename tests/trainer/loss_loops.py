"""The losses as plain loops over single tiles in double precision: what the tests compare with."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

Similarity = Callable[[np.ndarray, np.ndarray], float]


def distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.sum((left - right) ** 2))


def opposites_of(sessions: Sequence[int], row: int) -> list[int]:
    """Numbers of the candidates of other sessions; anchors come first, then the neighbours."""
    both = [*sessions, *sessions]
    return [index for index, session in enumerate(both) if session != sessions[row]]


def mined(
    mining: str, to_neighbour: float, to_opposites: dict[int, float], drawn: int
) -> Iterator[float]:
    """Distances to the opposites that `mining` picks for one anchor."""
    values = list(to_opposites.values())
    if mining == "all":
        yield from values
    elif mining == "random":
        yield to_opposites[drawn]
    elif mining == "hard":
        yield min(values)
    else:
        beyond = [value for value in values if value > to_neighbour]
        yield min(beyond) if beyond else max(values)


def triplet(
    anchors: np.ndarray,
    neighbours: np.ndarray,
    sessions: Sequence[int],
    *,
    margin: float,
    mining: str,
    reducer: str,
    drawn: Sequence[int],
) -> tuple[float, float]:
    """Loss, and share of the triplets whose loss is positive."""
    candidates = [*anchors, *neighbours]
    losses = []
    for row, (anchor, neighbour) in enumerate(zip(anchors, neighbours, strict=True)):
        numbers = opposites_of(sessions, row)
        if not numbers:
            continue
        to_neighbour = distance(anchor, neighbour)
        to_opposites = {number: distance(anchor, candidates[number]) for number in numbers}
        chosen = mined(mining, to_neighbour, to_opposites, drawn[row])
        losses += [max(0.0, to_neighbour - to_opposite + margin) for to_opposite in chosen]
    active = [loss for loss in losses if loss > 0]
    counted = active if reducer == "active_mean" else losses
    return sum(counted) / max(len(counted), 1), len(active) / max(len(losses), 1)


def info_nce(
    anchors: np.ndarray, neighbours: np.ndarray, sessions: Sequence[int], similarity: Similarity
) -> tuple[float, float]:
    """Loss, and share of the tiles whose partner is more similar than any opposite."""
    tiles = [*anchors, *neighbours]
    losses, found = [], []
    for row, tile in enumerate(tiles):
        partner = similarity(tile, tiles[(row + len(anchors)) % len(tiles)])
        numbers = opposites_of(sessions, row % len(anchors))
        if not numbers:
            continue
        opposites = [similarity(tile, tiles[number]) for number in numbers]
        highest = max(partner, *opposites)
        total = math.fsum(math.exp(value - highest) for value in [partner, *opposites])
        losses.append(math.log(total) + highest - partner)
        found.append(partner > max(opposites))
    return sum(losses) / max(len(losses), 1), sum(found) / max(len(found), 1)


def vicreg(anchors: np.ndarray, neighbours: np.ndarray) -> tuple[float, float, float]:
    """Invariance, variance and covariance."""
    n, size = anchors.shape
    near = sum(distance(a, b) for a, b in zip(anchors, neighbours, strict=True)) / (n * size)
    variance = covariance = 0.0
    for tiles in (anchors, neighbours):
        means = [sum(column) / n for column in tiles.T]
        for i in range(size):
            for j in range(size):
                products = [(tile[i] - means[i]) * (tile[j] - means[j]) for tile in tiles]
                value = sum(products) / (n - 1)
                if i == j:
                    variance += max(0.0, 1 - math.sqrt(value + 1e-4)) / size
                else:
                    covariance += value**2 / size
    return near, variance, covariance


def byol(
    anchors: np.ndarray, neighbours: np.ndarray, predict: Callable[[np.ndarray], np.ndarray]
) -> tuple[float, float]:
    """Loss, and mean cosine of projections; `predict` maps those of the whole batch."""
    n, size = len(anchors), anchors.shape[1] // 2
    tiles = np.concatenate([anchors, neighbours])
    predictions = predict(tiles[:, :size])

    def unit(row: np.ndarray) -> np.ndarray:
        return row / math.sqrt(sum(row**2))

    losses, cosines = [], []
    for row in range(n):
        for own, other in ((row, row + n), (row + n, row)):
            losses.append(distance(unit(predictions[own]), unit(tiles[other, size:])))
        cosines.append(float(unit(tiles[row, :size]) @ unit(tiles[row + n, :size])))
    return sum(losses) / n, sum(cosines) / n


def slopes(function: Callable[[np.ndarray], float], values: np.ndarray) -> np.ndarray:
    """Gradient of `function` at `values` by central differences."""
    gradient = np.zeros_like(values)
    for index in np.ndindex(values.shape):
        step = np.zeros_like(values)
        step[index] = 1e-6
        below, above = (function(values + sign * step) for sign in (-1, 1))
        gradient[index] = (above - below) / 2e-6
    return gradient
