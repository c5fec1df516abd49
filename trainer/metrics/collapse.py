"""Signs of collapse: all tiles get the same embedding, and the loss has nothing to compare.

The loss sees projections, so they decide: at inference the embedding of a collapsed run can differ
from tile to tile, since batch norm then divides by moving statistics; see
docs/decisions/training.md.
"""

from collections.abc import Mapping

import numpy as np

from trainer.metrics.neighbours import Vectors, unit_rows

PATIENCE = 3  # epochs in a row with a sign that stop the run; hard mining may recover before
_LOWEST_STD = 0.02  # of projections; measured: 0.05 or more in training, 0.016 collapsed
_LOWEST_RANK = 1.2  # of embeddings; measured: 3.2 and more before training, 1.1 after a collapse
_SHARE_OF_MARGIN = 0.01


def measure_spread(embeddings: Vectors, projections: Vectors) -> dict[str, float]:
    """Measure how different the embeddings of many tiles are, and what the loss sees of them."""
    return {
        "embedding_std": relative_std(embeddings),
        "effective_rank": effective_rank(embeddings),
        "projection_std": relative_std(projections),
    }


def sign_of_collapse(
    spread: Mapping[str, float], epoch_means: Mapping[str, float], margin: float
) -> str | None:
    """Describe the first sign of collapse; None without any.

    Args:
        spread: of many tiles, as `measure_spread` returns it.
        epoch_means: mean scalars of the loss over an epoch, as `trainer.model.losses` names them.
        margin: of the triplet loss.
    """
    if spread["projection_std"] < _LOWEST_STD:
        return f"projection_std {spread['projection_std']:.2g} is below {_LOWEST_STD}"
    if spread["effective_rank"] < _LOWEST_RANK:
        return f"effective_rank {spread['effective_rank']:.3g} is below {_LOWEST_RANK}"
    distances = [value for name, value in epoch_means.items() if name.endswith("_distance")]
    if distances and max(distances) < _SHARE_OF_MARGIN * margin:
        return f"loss {epoch_means['loss']:.4g} is stuck at the margin, with distances near 0"
    return None


def relative_std(embeddings: Vectors) -> float:
    """Mean over the dimensions of the standard deviation of the directions, times sqrt(size).

    About 1 where directions are spread evenly over the sphere, 0 where all are the same (SimSiam,
    arXiv 2011.10566, sec. 4.1 and fig. 2).

    Args:
        embeddings: ``[n, size]``, rows of any length.
    """
    return float(
        unit_rows(embeddings.astype(np.float64)).std(axis=0).mean() * np.sqrt(embeddings.shape[1])
    )


def effective_rank(embeddings: Vectors) -> float:
    """Exponential of the entropy of the directions' singular values, divided by their sum.

    How many dimensions are in use: 1, where all directions are the same or opposite, to `size`
    (Roy and Vetterli, "The effective rank", EUSIPCO 2007, definition 1). Directions are not
    centred, as in RankMe (arXiv 2210.02885): noise around one point has a low rank.

    Args:
        embeddings: ``[n, size]``, rows of any length.
    """
    values = np.linalg.svd(unit_rows(embeddings.astype(np.float64)), compute_uv=False)
    shares = values / max(float(values.sum()), np.finfo(np.float64).tiny)
    used = shares[shares > 0]
    return float(np.exp(-np.sum(used * np.log(used))))
