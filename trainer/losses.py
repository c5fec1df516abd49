"""Triplet loss: distance, mining, loss per triplet, reducer. Pure functions of one *global* batch.

Row i of the anchors and row i of the neighbours are a pair. Every tile of another session, anchor
or neighbour, is a candidate for the opposite.
"""

import tensorflow as tf

SCALARS = ("loss", "active_share", "neighbour_distance", "opposite_distance")


def triplet_loss(
    anchors: tf.Tensor,
    neighbours: tf.Tensor,
    sessions: tf.Tensor,
    *,
    margin: float,
    mining: str,
    seed: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Mean over the active triplets of ``max(0, d(a, n) - d(a, o) + margin)``.

    The form is that of Tile2Vec (arXiv 1805.02855, eq. 1) with squared Euclidean distances between
    embeddings of length one, as in FaceNet (arXiv 1503.03832); they range from 0 to 4.

    Args:
        anchors: float32 ``[batch, embedding_size]``, rows of length one.
        neighbours: likewise, near in time to the anchors.
        sessions: integers ``[batch]``; tiles of equal sessions are never opposites.
        margin: how much farther than the neighbour an opposite should be.
        mining: ``random`` draws each opposite; ``semi_hard`` takes the nearest candidate that is
            farther than the neighbour, and where there is none the farthest.
        seed: integers ``[2]``, for ``random``.

    Returns:
        The scalars named in `SCALARS`: ``loss``; ``active_share``: of triplets with a positive
        loss; mean ``neighbour_distance`` and ``opposite_distance``.
    """
    candidates = tf.concat([anchors, neighbours], axis=0)  # [2 batch, size]
    candidate_sessions = tf.concat([sessions, sessions], axis=0)
    allowed = sessions[:, None] != candidate_sessions[None, :]  # [batch, 2 batch]
    to_neighbours = tf.reduce_sum(tf.square(anchors - neighbours), axis=1)  # [batch]
    to_candidates = squared_distances(anchors, candidates)  # [batch, 2 batch]
    chosen = (
        mine_random(allowed, seed)
        if mining == "random"
        else mine_semi_hard(to_neighbours, to_candidates, allowed)
    )
    to_opposites = tf.gather(to_candidates, chosen, batch_dims=1)  # [batch]
    valid = tf.cast(tf.reduce_any(allowed, axis=1), tf.float32)
    losses = tf.nn.relu(to_neighbours - to_opposites + margin) * valid
    active = tf.math.count_nonzero(losses, dtype=tf.float32)
    triplets = tf.maximum(tf.reduce_sum(valid), 1.0)
    return {
        "loss": tf.reduce_sum(losses) / tf.maximum(active, 1.0),
        "active_share": active / triplets,
        "neighbour_distance": tf.reduce_mean(to_neighbours),
        "opposite_distance": tf.reduce_sum(to_opposites * valid) / triplets,
    }


def squared_distances(left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Squared Euclidean distances ``[n, m]`` between rows of ``[n, size]`` and ``[m, size]``.

    No square root is taken, whose gradient at a distance of zero would be NaN.
    """
    products = tf.matmul(left, right, transpose_b=True)
    norms_left = tf.reduce_sum(tf.square(left), axis=1)[:, None]
    norms_right = tf.reduce_sum(tf.square(right), axis=1)[None, :]
    return tf.nn.relu(norms_left + norms_right - 2.0 * products)


def mine_random(allowed: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Draw for each row one allowed column, uniformly: ``[batch]`` indices.

    Rows without an allowed column give any index.
    """
    lottery = tf.random.stateless_uniform(tf.shape(allowed), seed)
    return tf.argmax(tf.where(allowed, lottery, -1.0), axis=1)


def mine_semi_hard(
    to_neighbours: tf.Tensor, to_candidates: tf.Tensor, allowed: tf.Tensor
) -> tf.Tensor:
    """Find for each row the nearest allowed candidate beyond the neighbour: ``[batch]`` indices.

    Where no candidate lies beyond, the farthest one is taken (FaceNet, arXiv 1503.03832, sec. 3.2).
    """
    beyond = allowed & (to_candidates > to_neighbours[:, None])
    nearest_beyond = tf.argmin(tf.where(beyond, to_candidates, tf.float32.max), axis=1)
    farthest = tf.argmax(tf.where(allowed, to_candidates, -1.0), axis=1)
    return tf.where(tf.reduce_any(beyond, axis=1), nearest_beyond, farthest)
