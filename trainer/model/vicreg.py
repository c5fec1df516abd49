"""VICReg (arXiv 2105.04906): neighbours are alike, dimensions spread and uncorrelated.

It has no opposites: what keeps the vectors apart is the variance of each of their dimensions.
"""

from collections.abc import Mapping

import tensorflow as tf

from trainer.config import TrainConfig
from trainer.model.losses import Loss, Part, Parts, no_opposites

_EPSILON = 1e-4  # of the variance; as the target of 1 for the deviation, a constant of the paper


def build_vicreg(config: TrainConfig, _size: int) -> Loss:
    """Build the loss with the settings' weights of its terms."""
    weights = {
        "invariance": config.invariance_weight,
        "variance": config.variance_weight,
        "covariance": config.covariance_weight,
    }
    return Loss(
        lambda anchors, neighbours, sessions, _, rows: (
            vicreg(anchors, neighbours, rows, weights),
            no_opposites(sessions),
        ),
        ("loss", *weights),
        unit_length=False,
    )


def vicreg(
    anchors: tf.Tensor, neighbours: tf.Tensor, rows: slice, weights: Mapping[str, float]
) -> Parts:
    """Weighted sum of three terms (eq. 6), of which shares are computed that add up to them.

    Variances and covariances are of the whole batch. They are shared out by dimensions: a replica
    computes as large a part of the dimensions as it has of the rows.

    Args:
        anchors: ``[batch, size]``, of any length.
        neighbours: the same, near in time to the anchors.
        rows: whose share to compute.
        weights: by name of the term.

    Returns:
        ``loss``; ``invariance``: mean squared difference of neighbours (eq. 5, a mean also over the
        dimensions: see docs/decisions/training.md); ``variance``: mean of what the standard
        deviations lack to 1 (eq. 1 and 2); ``covariance``: sum of the squared covariances of
        different dimensions, over the number of dimensions (eq. 3 and 4). The last two are sums
        of anchors' and neighbours'.
    """
    batch, size = tf.unstack(tf.shape(anchors))
    near = tf.reduce_sum(tf.square(anchors - neighbours)[rows])
    own = _own_dimensions(rows, batch, size)
    spreads = [_spread_terms(tiles, own) for tiles in (anchors, neighbours)]
    variance, covariance = (tf.add_n(terms) for terms in zip(*spreads, strict=True))
    terms = {
        "invariance": near / tf.cast(batch * size, near.dtype),
        "variance": variance,
        "covariance": covariance,
    }
    loss = tf.add_n([weights[name] * term for name, term in terms.items()])
    shares = {"loss": loss, **terms}
    return {name: Part(share, tf.zeros_like(share)) for name, share in shares.items()}


def _own_dimensions(rows: slice, batch: tf.Tensor, size: tf.Tensor) -> slice:
    """Say which dimensions go with some rows: each goes with those of one replica."""
    numbers = tf.range(batch)[rows]
    first, end = numbers[0], numbers[-1] + 1
    return slice(first * size // batch, end * size // batch)


def _spread_terms(tiles: tf.Tensor, own: slice) -> tuple[tf.Tensor, tf.Tensor]:
    """The share of some dimensions in variance and covariance of tiles ``[batch, size]``."""
    batch, size = (tf.cast(n, tiles.dtype) for n in tf.unstack(tf.shape(tiles)))
    centred = tiles - tf.reduce_mean(tiles, axis=0)
    covariances = tf.matmul(centred[:, own], centred, transpose_a=True) / (batch - 1)  # [own, size]
    dimensions = tf.range(tf.shape(tiles)[1])
    same = dimensions[own][:, None] == dimensions[None, :]  # [own, size]
    variances = tf.reduce_sum(tf.where(same, covariances, 0.0), axis=1)  # [own]
    lacking = tf.nn.relu(1 - tf.sqrt(variances + _EPSILON))
    others = tf.where(same, 0.0, covariances)
    return tf.reduce_sum(lacking) / size, tf.reduce_sum(tf.square(others)) / size
