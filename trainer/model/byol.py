"""BYOL (arXiv 2006.07733; of audio: BYOL-A, arXiv 2103.06695): predict the target of the neighbour.

It has no opposites: what keeps the vectors apart is that the target, a moving average of the
network, gets no gradient, and that a predictor stands between the two.
"""

import keras
import tensorflow as tf

from trainer.config import TrainConfig
from trainer.model.losses import Loss, Parts, no_opposites, part_of

_HIDDEN = 4  # units of the predictor's hidden layer, in sizes of the projection


def build_byol(_config: TrainConfig, size: int) -> Loss:
    """Build the loss with a new predictor."""
    predictor = build_predictor(size)

    def function(
        anchors: tf.Tensor,
        neighbours: tf.Tensor,
        sessions: tf.Tensor,
        _seed: tf.Tensor,
        rows: slice,
    ) -> tuple[Parts, tf.Tensor]:
        return byol(anchors, neighbours, rows, predictor), no_opposites(sessions)

    scalars = ("loss", "neighbour_similarity")
    return Loss(function, scalars, (predictor,), unit_length=False, uses_target=True)


def build_predictor(size: int) -> keras.Model:
    """Build the layers from a projection to what is predicted of the neighbour's target."""
    projections = keras.Input((size,), name="projection")
    x = keras.layers.Dense(_HIDDEN * size, dtype="float32", name="hidden")(projections)
    x = keras.layers.BatchNormalization(dtype="float32")(x)  # of all rows, so there is no other
    x = keras.layers.ReLU()(x)
    predictions = keras.layers.Dense(size, dtype="float32", name="predict")(x)
    return keras.Model(projections, predictions, name="predictor")


def byol(anchors: tf.Tensor, neighbours: tf.Tensor, rows: slice, predictor: keras.Model) -> Parts:
    """Squared distance of unit vectors, from the prediction of a tile to its neighbour's target.

    Both tiles of a pair predict the other's (eq. 2 and the sum below it). The predictor is applied
    to the whole batch by every replica, since its batch norm needs the statistics of all; it is
    small beside the encoder.

    Args:
        anchors: ``[batch, 2 size]``, projections and then targets, of any length.
        neighbours: the same, near in time to the anchors.
        rows: of the pairs whose two tiles predict.
        predictor: from projections to predictions, ``[n, size]``.

    Returns:
        ``loss``: mean over the pairs, 0 to 8; ``neighbour_similarity``: mean cosine of their
        projections.
    """
    (own, own_targets), (other, other_targets) = (
        tf.split(tiles, 2, axis=1) for tiles in (anchors, neighbours)
    )
    predictions = predictor(tf.concat([own, other], axis=0), training=True)  # [2 batch, size]
    of_own, of_other = tf.split(predictions, 2)
    cosines = _cosines(of_own[rows], other_targets[rows])
    cosines += _cosines(of_other[rows], own_targets[rows])
    return {
        "loss": part_of(4 - 2 * cosines),
        "neighbour_similarity": part_of(_cosines(own[rows], other[rows])),
    }


def _cosines(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Cosines of rows ``[n, size]`` with those of the same number, ``[n]``."""
    left, right = (tf.math.l2_normalize(rows, axis=1) for rows in (left, right))
    return tf.reduce_sum(left * right, axis=1)
