"""When to stop a trial that cannot win: the median stopping rule, as in Google Vizier.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.2.1.
"""

from collections.abc import Mapping, Sequence

import numpy as np

Curve = Mapping[int, float]
"""The objective after each epoch."""

_FEWEST_FINISHED = 3
_FIRST_EPOCH = 2


def cannot_win(curve: Curve, finished: Sequence[Curve]) -> bool:
    """Whether a trial's best value is below the median of what finished ones had on average.

    Args:
        curve: of the trial, up to now.
        finished: of trials that ran to their end; the mean of each up to the same epoch counts.
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
