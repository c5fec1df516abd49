"""Losses of pairs of tiles: pure functions of one *global* batch, whose counts they divide by.

Row i of the anchors and row i of the neighbours are a pair. Tiles of one session are never
opposites of each other; every tile of another session, anchor or neighbour, is a candidate.

The settings name a `LossBuilder`: one of `trainer.choices.LOSSES`, or a user's own as
``module:function``.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from beam_features.schema.strip import NO_LABEL
from trainer.choices import LOSSES, MININGS, SIMILARITIES
from trainer.config import TrainConfig
from trainer.model.mining import squared_distances
from trainer.model.similarity import Similarity

Scalars = dict[str, tf.Tensor]
OPPOSITE_COUNTS = ("false_opposites", "labelled_opposites")
LossFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tuple[Scalars, tf.Tensor]]
"""Of anchors and neighbours ``[batch, size]``, sessions ``[batch]`` and a seed ``[2]``.

Returns scalars, of which ``loss`` is minimised, and which tiles served which as opposites: booleans
``[rows, 2 batch]``, rows and columns being anchors, then neighbours, where there are rows of them.
"""


@dataclass(frozen=True)
class Loss:
    """A loss, the names of the scalars that it returns, and the layers that it learns."""

    function: LossFunction
    scalars: tuple[str, ...]
    layers: tuple[keras.Layer, ...] = ()


LossBuilder = Callable[[TrainConfig, int], Loss]
"""Of the settings and the size of the vectors."""


def build_loss(config: TrainConfig, size: int) -> Loss:
    """Build the loss that the settings name, for vectors of `size`, with variables if any.

    Raises:
        InputError: there is no such loss.
    """
    build: LossBuilder = LOSSES[config.loss]
    return build(config, size)


def build_triplet_loss(config: TrainConfig, _size: int) -> Loss:
    """Build `triplet_loss` with the settings' margin, mining and reducer."""
    function = functools.partial(
        triplet_loss, margin=config.margin, mining=config.mining, reducer=config.reducer
    )
    return Loss(function, ("loss", "active_share", "neighbour_distance", "opposite_distance"))


def build_info_nce(config: TrainConfig, size: int) -> Loss:
    """Build `info_nce` with the settings' similarity, which may have variables."""
    similarity = SIMILARITIES[config.similarity](config, size)
    return Loss(
        lambda anchors, neighbours, sessions, _: info_nce(
            anchors, neighbours, sessions, similarity
        ),
        ("loss", "contrastive_accuracy", "neighbour_similarity", "opposite_similarity"),
        (similarity,) if isinstance(similarity, keras.Layer) else (),
    )


def triplet_loss(
    anchors: tf.Tensor,
    neighbours: tf.Tensor,
    sessions: tf.Tensor,
    seed: tf.Tensor,
    *,
    margin: float,
    mining: str,
    reducer: str,
) -> tuple[Scalars, tf.Tensor]:
    """Reduce ``max(0, d(a, n) - d(a, o) + margin)`` over the triplets that mining finds.

    The form is that of Tile2Vec (arXiv 1805.02855, eq. 1) with squared Euclidean distances between
    embeddings of length one, as in FaceNet (arXiv 1503.03832); they range from 0 to 4.

    Args:
        anchors: ``[batch, size]``, rows of length one.
        neighbours: the same, near in time to the anchors.
        sessions: integers ``[batch]``.
        seed: integers ``[2]``, for random mining.
        margin: how much farther than the neighbour an opposite should be.
        mining: of `trainer.choices.MININGS`.
        reducer: ``mean`` over the triplets, or ``active_mean`` over those of a positive loss.

    Returns:
        ``loss``; ``active_share``: of triplets with a positive loss; mean ``neighbour_distance`` of
        the pairs and ``opposite_distance`` of the triplets. A batch of one session has no triplet:
        its loss is 0.
    """
    candidates = tf.concat([anchors, neighbours], axis=0)  # [2 batch, size]
    allowed = sessions[:, None] != tf.tile(sessions, [2])[None, :]  # [batch, 2 batch]
    to_neighbours = tf.reduce_sum(tf.square(anchors - neighbours), axis=1)  # [batch]
    to_candidates = squared_distances(anchors, candidates)  # [batch, 2 batch]
    opposite = MININGS[mining](to_neighbours, to_candidates, allowed, seed)  # [batch, 2 batch]
    losses = tf.nn.relu(to_neighbours[:, None] - to_candidates + margin)
    active = opposite & (losses > 0)
    scalars = {
        "loss": masked_mean(losses, active if reducer == "active_mean" else opposite),
        "active_share": masked_mean(tf.cast(active, losses.dtype), opposite),
        "neighbour_distance": tf.reduce_mean(to_neighbours),
        "opposite_distance": masked_mean(to_candidates, opposite),
    }
    return scalars, opposite


def info_nce(
    anchors: tf.Tensor, neighbours: tf.Tensor, sessions: tf.Tensor, similarity: Similarity
) -> tuple[Scalars, tf.Tensor]:
    """Mean cross-entropy of finding the partner of a tile among tiles of other sessions.

    NT-Xent (SimCLR, arXiv 2002.05709, eq. 1): each of the 2 batch tiles, anchor or neighbour, asks
    for the other one of its pair. The candidates are that one and all 2 batch tiles less those of
    its own session, so that a song is not pushed away from itself. So both
    anchors and neighbours are queries, since nearness in time is symmetric. In COLA (arXiv
    2010.10915) only anchors are queries, and only neighbours are candidates.

    Args:
        anchors: ``[batch, size]``, rows of length one.
        neighbours: the same, near in time to the anchors.
        sessions: integers ``[batch]``.
        similarity: of rows ``[n, size]`` and ``[m, size]``, ``[n, m]``: the logits.

    Returns:
        ``loss``; ``contrastive_accuracy``: share of tiles whose partner is more similar than every
        other candidate; mean ``neighbour_similarity`` of partners and ``opposite_similarity`` of
        the other candidates. Tiles without a tile of another session do not count; where all are
        so, the loss is 0.
    """
    tiles = tf.concat([anchors, neighbours], axis=0)  # [2 batch, size]
    tile_sessions = tf.tile(sessions, [2])
    opposite = tile_sessions[:, None] != tile_sessions[None, :]  # [2 batch, 2 batch]
    logits = similarity(tiles, tiles)
    n_tiles = tf.shape(tiles)[0]
    partners = tf.roll(tf.range(n_tiles), n_tiles // 2, axis=0)  # of row i: row i ± batch
    to_partners = tf.gather(logits, partners[:, None], batch_dims=1)  # [2 batch, 1]
    to_opposites = tf.where(opposite, logits, logits.dtype.min)
    to_all = tf.concat([to_partners, to_opposites], axis=1)  # [2 batch, 1 + 2 batch]
    losses = tf.reduce_logsumexp(to_all, axis=1, keepdims=True) - to_partners
    nearest = tf.reduce_max(to_opposites, axis=1, keepdims=True)
    valid = tf.reduce_any(opposite, axis=1, keepdims=True)
    scalars = {
        "loss": masked_mean(losses, valid),
        "contrastive_accuracy": masked_mean(tf.cast(to_partners > nearest, losses.dtype), valid),
        "neighbour_similarity": tf.reduce_mean(to_partners),
        "opposite_similarity": masked_mean(logits, opposite),
    }
    return scalars, opposite


def count_false_opposites(opposite: tf.Tensor, labels: tf.Tensor) -> Scalars:
    """Count the opposites of the same label, which a loss pushes away in error.

    Labels serve this measure alone, after the gradient.

    Args:
        opposite: as a loss gives it.
        labels: ``[batch, 2]``, of anchors and neighbours; `NO_LABEL` where there is none.

    Returns:
        ``false_opposites``, of ``labelled_opposites`` where both tiles have a label.
    """
    of_tiles = tf.reshape(tf.transpose(labels), [-1])  # [2 batch]
    of_rows = of_tiles[: tf.shape(opposite)[0]]
    labelled = opposite & (of_rows != NO_LABEL)[:, None] & (of_tiles != NO_LABEL)[None, :]
    false = labelled & (of_rows[:, None] == of_tiles[None, :])
    return {
        "false_opposites": tf.math.count_nonzero(false, dtype=tf.float32),
        "labelled_opposites": tf.math.count_nonzero(labelled, dtype=tf.float32),
    }


def masked_mean(values: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean of the values where `mask` is true; 0, with a gradient of 0, where it never is."""
    count = tf.math.count_nonzero(mask, dtype=values.dtype)
    return tf.reduce_sum(tf.where(mask, values, 0.0)) / tf.maximum(count, 1.0)
