"""Opposites for the triplet loss: which candidates of other sessions an anchor is compared with.

Pure functions of one *global* batch. Distances are squared Euclidean between rows of length one, 0
to 4. Each mining, named in `trainer.choices.MININGS`, takes

* ``to_neighbours``: distances ``[batch]``;
* ``to_candidates``: distances ``[batch, candidates]``;
* ``allowed``: booleans ``[batch, candidates]``, true where a candidate is of another session;
* ``seed``: integers ``[2]``

and returns the candidates that serve each anchor as opposites, booleans ``[batch, candidates]``. A
row without an allowed candidate has no opposite.
"""

import tensorflow as tf


def squared_distances(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Squared Euclidean distances ``[n, m]`` between rows of ``[n, size]`` and ``[m, size]``.

    No square root is taken, whose gradient at a distance of zero would be NaN.
    """
    products = tf.matmul(left, right, transpose_b=True)
    norms_left = tf.reduce_sum(tf.square(left), axis=1)[:, None]
    norms_right = tf.reduce_sum(tf.square(right), axis=1)[None, :]
    return tf.nn.relu(norms_left + norms_right - 2.0 * products)


def mine_all(
    _to_neighbours: tf.Tensor, _to_candidates: tf.Tensor, allowed: tf.Tensor, _seed: tf.Tensor
) -> tf.Tensor:
    """Take every allowed candidate."""
    return allowed


def mine_random(
    _to_neighbours: tf.Tensor, _to_candidates: tf.Tensor, allowed: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """Draw for each row one allowed candidate, uniformly."""
    lottery = tf.random.stateless_uniform(tf.shape(allowed), seed)
    return _chosen(tf.argmax(tf.where(allowed, lottery, -1.0), axis=1), allowed)


def mine_hard(
    _to_neighbours: tf.Tensor, to_candidates: tf.Tensor, allowed: tf.Tensor, _seed: tf.Tensor
) -> tf.Tensor:
    """Find for each row the nearest allowed candidate.

    The hardest negative of "batch hard" (arXiv 1703.07737, eq. 5); a tile has but one neighbour.
    """
    return _chosen(_nearest(to_candidates, allowed), allowed)


def mine_semi_hard(
    to_neighbours: tf.Tensor, to_candidates: tf.Tensor, allowed: tf.Tensor, _seed: tf.Tensor
) -> tf.Tensor:
    """Find for each row the nearest allowed candidate that is farther than the neighbour.

    Where none is farther, the farthest one is taken (FaceNet, arXiv 1503.03832, sec. 3.2).
    """
    beyond = allowed & (to_candidates > to_neighbours[:, None])
    farthest = tf.argmax(tf.where(allowed, to_candidates, -1.0), axis=1)
    any_beyond = tf.reduce_any(beyond, axis=1)
    return _chosen(tf.where(any_beyond, _nearest(to_candidates, beyond), farthest), allowed)


def _nearest(to_candidates: tf.Tensor, among: tf.Tensor) -> tf.Tensor:
    return tf.argmin(tf.where(among, to_candidates, to_candidates.dtype.max), axis=1)


def _chosen(columns: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Columns ``[batch]`` as booleans ``[batch, candidates]``; none where none is allowed."""
    return allowed & (columns[:, None] == tf.range(tf.shape(allowed)[1], dtype=columns.dtype))
