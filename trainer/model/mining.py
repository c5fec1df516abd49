"""Opposites for the triplet loss: which candidates of other sessions an anchor is compared with.

Pure functions of one *global* batch. Distances are squared Euclidean between rows of length one, 0
to 4. ``allowed`` ``[batch, candidates]`` is true where a candidate is of another session.
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


def mine(
    mining: str,
    to_neighbours: tf.Tensor,
    to_candidates: tf.Tensor,
    allowed: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Find the candidates that serve each anchor as opposites: booleans ``[batch, candidates]``.

    Args:
        mining: ``all`` takes every allowed candidate; the others take one: ``random`` any,
            ``hard`` the nearest, ``semi_hard`` the nearest beyond the neighbour.
        to_neighbours: distances ``[batch]``.
        to_candidates: distances ``[batch, candidates]``.
        allowed: booleans ``[batch, candidates]``; rows without any stay without an opposite.
        seed: integers ``[2]``, for ``random``.
    """
    if mining == "all":
        return allowed
    if mining == "random":
        chosen = mine_random(allowed, seed)
    elif mining == "hard":
        chosen = mine_hard(to_candidates, allowed)
    else:
        chosen = mine_semi_hard(to_neighbours, to_candidates, allowed)
    columns = tf.range(tf.shape(allowed)[1], dtype=chosen.dtype)
    return allowed & (chosen[:, None] == columns[None, :])


def mine_random(allowed: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw for each row one allowed column, uniformly: ``[batch]`` indices.

    Rows without an allowed column give any index.
    """
    lottery = tf.random.stateless_uniform(tf.shape(allowed), seed)
    return tf.argmax(tf.where(allowed, lottery, -1.0), axis=1)


def mine_hard(to_candidates: tf.Tensor, allowed: tf.Tensor) -> tf.Tensor:
    """Find for each row the nearest allowed candidate: ``[batch]`` indices.

    The hardest negative of "batch hard" (arXiv 1703.07737, eq. 5); a tile has but one neighbour.
    """
    return tf.argmin(tf.where(allowed, to_candidates, to_candidates.dtype.max), axis=1)


def mine_semi_hard(
    to_neighbours: tf.Tensor, to_candidates: tf.Tensor, allowed: tf.Tensor
) -> tf.Tensor:
    """Find for each row the nearest allowed candidate beyond the neighbour: ``[batch]`` indices.

    Where no candidate lies beyond, the farthest one is taken (FaceNet, arXiv 1503.03832, sec. 3.2).
    """
    beyond = allowed & (to_candidates > to_neighbours[:, None])
    nearest_beyond = mine_hard(to_candidates, beyond)
    farthest = tf.argmax(tf.where(allowed, to_candidates, -1.0), axis=1)
    return tf.where(tf.reduce_any(beyond, axis=1), nearest_beyond, farthest)
