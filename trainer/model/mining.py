"""Opposites for the triplet loss: which candidates of other sessions an anchor is compared with.

Pure functions of rows, whose candidates are the tiles of the *global* batch; no row depends on
another. Distances are squared Euclidean between rows of length one, 0 to 4. Each mining, named in
`trainer.choices.MININGS`, takes

* ``to_neighbours``: distances ``[rows]``;
* ``to_candidates``: distances ``[rows, candidates]``;
* ``allowed``: booleans ``[rows, candidates]``, true where a candidate is of another session;
* ``draws``: uniform random numbers ``[rows]`` from 0, included, to 1, excluded

and returns the candidates that serve each anchor as opposites, booleans ``[rows, candidates]``. A
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
    _to_neighbours: tf.Tensor, _to_candidates: tf.Tensor, allowed: tf.Tensor, _draws: tf.Tensor
) -> tf.Tensor:
    """Take every allowed candidate."""
    return allowed


def mine_random(
    _to_neighbours: tf.Tensor, _to_candidates: tf.Tensor, allowed: tf.Tensor, draws: tf.Tensor
) -> tf.Tensor:
    """Take for each row the allowed candidate at the place that is drawn, uniformly."""
    places = tf.cumsum(tf.cast(allowed, tf.int32), axis=1)  # 1 for the first allowed one
    drawn = 1 + tf.cast(draws * tf.cast(places[:, -1], draws.dtype), tf.int32)
    return allowed & (places == drawn[:, None])


def mine_hard(
    _to_neighbours: tf.Tensor, to_candidates: tf.Tensor, allowed: tf.Tensor, _draws: tf.Tensor
) -> tf.Tensor:
    """Find for each row the nearest allowed candidate.

    The hardest negative of "batch hard" (arXiv 1703.07737, eq. 5); a tile has but one neighbour.
    """
    return _chosen(_nearest(to_candidates, allowed), allowed)


def mine_semi_hard(
    to_neighbours: tf.Tensor, to_candidates: tf.Tensor, allowed: tf.Tensor, _draws: tf.Tensor
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
    """Columns ``[rows]`` as booleans ``[rows, candidates]``; none where none is allowed."""
    return allowed & (columns[:, None] == tf.range(tf.shape(allowed)[1], dtype=columns.dtype))
