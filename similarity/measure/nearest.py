"""Exact nearest songs over a matrix that is mapped into memory, block by block."""

import numpy as np
import numpy.typing as npt

_ROWS_PER_BLOCK = 1 << 16

Floats = npt.NDArray[np.floating]
Ints = npt.NDArray[np.integer]


def cosines_with(unit: Floats, query: Floats) -> npt.NDArray[np.float32]:
    """Cosines ``[songs]`` of a query ``[size]`` of length one with rows of length one."""
    query = query.astype(np.float32)
    blocks = [
        unit[first : first + _ROWS_PER_BLOCK] @ query
        for first in range(0, len(unit), _ROWS_PER_BLOCK)
    ]
    return np.concatenate([np.empty(0, np.float32), *blocks])


def best_first(scores: Floats) -> Ints:
    """Rows by score, the highest first; of equal scores the lower row."""
    return np.argsort(-scores, kind="stable")
