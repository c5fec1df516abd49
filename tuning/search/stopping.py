"""Early stopping: the median stopping rule of Google Vizier.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.1.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Curve = Mapping[int, float]
"""The objective after each epoch."""

_FEWEST_FINISHED = 3
_FIRST_EPOCH = 2


def cannot_win(curve: Curve, finished: Sequence[Curve]) -> bool:
    """Return whether a trial's best value is below the median of the finished trials' means.

    Args:
        curve: of the trial, so far.
        finished: of completed trials; each counts with its mean up to the same epoch.
    """
    epoch = max(curve, default=0)
    means = [
        float(np.mean([value for at, value in other.items() if at <= epoch]))
        for other in finished
        if any(at <= epoch for at in other)
    ]
    if epoch < _FIRST_EPOCH or len(means) < _FEWEST_FINISHED:
        return False
    return max(curve.values()) < float(np.median(means))
