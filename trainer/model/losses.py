"""Losses of pairs of tiles: pure functions of one *global* batch and of some of its rows.

Row i of the anchors and row i of the neighbours are a pair. Tiles of one session are never
opposites of each other; every tile of another session, anchor or neighbour, is a candidate.

Each replica compares the tiles of its own rows with those of the whole batch. It gives sums and
counts, which are added over the replicas before they are divided: so the work is shared out, and
a mean is that of the whole batch.

The settings name a `LossBuilder`: one of `trainer.choices.LOSSES`, or a user's own as
``module:function``.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import keras
import tensorflow as tf

from beam_features.schema.strip import NO_LABEL
from dem.errors import InputError
from trainer.choices import LOSSES, MININGS, SIMILARITIES
from trainer.config import TrainConfig
from trainer.model.mining import squared_distances
from trainer.model.similarity import Similarity

Scalars = dict[str, tf.Tensor]
OPPOSITE_COUNTS = ("false_opposites", "labelled_opposites")


class Part(NamedTuple):
    """What some rows of a batch add to a scalar: to its sum, and to the count it is divided by."""

    total: tf.Tensor
    count: tf.Tensor

    def over(self, count: tf.Tensor) -> tf.Tensor:
        """Divide by the count of the whole batch; by 1 where it is 0, as that of a mere sum."""
        return self.total / tf.where(count > 0, count, tf.ones_like(count))


Parts = dict[str, Part]
LossFunction = Callable[
    [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, slice], tuple[Parts, tf.Tensor]
]
"""Of anchors and neighbours ``[batch, size]``, sessions ``[batch]``, a seed ``[2]`` and a slice.

The tensors are those of the global batch; the slice is of the rows to compute. It returns their
parts of scalars, of which ``loss`` is minimised, and which tiles served which as opposites:
booleans ``[rows, 2 batch]``. Its rows are the anchors, or the anchors and then the neighbours, of
the slice; its columns are all anchors, then all neighbours. See `no_opposites` for losses that have
none.
"""


@dataclass(frozen=True)
class Loss:
    """A loss, and what it needs of the model.

    Attributes:
        function: of a batch.
        scalars: names of those that it returns.
        layers: that it learns.
        unit_length: whether its vectors are to have length one.
        uses_target: whether a vector is ``[2 size]``: the projection, and then, without a gradient,
            that of the same tile by a moving average of encoder and projector; see
            `trainer.model.target`.
    """

    function: LossFunction
    scalars: tuple[str, ...]
    layers: tuple[keras.Layer, ...] = ()
    unit_length: bool = True
    uses_target: bool = False


LossBuilder = Callable[[TrainConfig, int], Loss]
"""Of the settings and the size of the vectors."""


def build_loss(config: TrainConfig, size: int) -> Loss:
    """Build the loss that the settings name, for vectors of `size`, with variables if any.

    Raises:
        InputError: there is no such loss, or it does not take rows and give parts.
    """
    build: LossBuilder = LOSSES[config.loss]
    loss = build(config, size)
    _check(config.loss, loss, size)
    return loss


def _check(name: str, loss: Loss, size: int) -> None:
    """Compute one row of two pairs: a user's own loss may be of an older version."""
    tiles = tf.zeros([2, 2 * size if loss.uses_target else size])
    sessions = tf.range(2, dtype=tf.int64)
    arguments = (tiles, tiles, sessions, tf.zeros([2], tf.int64), slice(0, 1))
    try:
        inspect.signature(loss.function).bind(*arguments)
    except TypeError as error:
        raise InputError(
            f"loss={name!r}: its function is to take (anchors, neighbours, sessions, seed, rows), "
            f"but {error}; CONTRIBUTING.md shows one"
        ) from error
    parts, _ = loss.function(*arguments)
    for scalar in loss.scalars:
        if not isinstance(parts.get(scalar), Part):
            raise InputError(
                f"loss={name!r}: its function is to give {scalar!r} as a Part, the sum and the "
                "count of the rows; CONTRIBUTING.md shows one"
            )


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
        lambda anchors, neighbours, sessions, _, rows: info_nce(
            anchors, neighbours, sessions, rows, similarity
        ),
        ("loss", "contrastive_accuracy", "neighbour_similarity", "opposite_similarity"),
        (similarity,) if isinstance(similarity, keras.Layer) else (),
    )


def triplet_loss(
    anchors: tf.Tensor,
    neighbours: tf.Tensor,
    sessions: tf.Tensor,
    seed: tf.Tensor,
    rows: slice,
    *,
    margin: float,
    mining: str,
    reducer: str,
) -> tuple[Parts, tf.Tensor]:
    """Reduce ``max(0, d(a, n) - d(a, o) + margin)`` over the triplets that mining finds.

    The form is that of Tile2Vec (arXiv 1805.02855, eq. 1) with squared Euclidean distances between
    embeddings of length one, as in FaceNet (arXiv 1503.03832); they range from 0 to 4.

    Args:
        anchors: ``[batch, size]``, rows of length one.
        neighbours: the same, near in time to the anchors.
        sessions: integers ``[batch]``.
        seed: integers ``[2]``, for random mining.
        rows: of the anchors to compute.
        margin: how much farther than the neighbour an opposite should be.
        mining: of `trainer.choices.MININGS`.
        reducer: ``mean`` over the triplets, or ``active_mean`` over those of a positive loss.

    Returns:
        ``loss``; ``active_share``: of triplets with a positive loss; mean ``neighbour_distance`` of
        the pairs and ``opposite_distance`` of the triplets. A batch of one session has no triplet:
        its loss is 0.
    """
    own = anchors[rows]
    candidates = tf.concat([anchors, neighbours], axis=0)  # [2 batch, size]
    allowed = sessions[rows][:, None] != tf.tile(sessions, [2])[None, :]  # [rows, 2 batch]
    to_neighbours = tf.reduce_sum(tf.square(own - neighbours[rows]), axis=1)  # [rows]
    to_candidates = squared_distances(own, candidates)  # [rows, 2 batch]
    draws = tf.random.stateless_uniform(tf.shape(sessions), seed)[rows]
    opposite = MININGS[mining](to_neighbours, to_candidates, allowed, draws)  # [rows, 2 batch]
    losses = tf.nn.relu(to_neighbours[:, None] - to_candidates + margin)
    active = opposite & (losses > 0)
    parts = {
        "loss": part_of(losses, active if reducer == "active_mean" else opposite),
        "active_share": part_of(tf.cast(active, losses.dtype), opposite),
        "neighbour_distance": part_of(to_neighbours),
        "opposite_distance": part_of(to_candidates, opposite),
    }
    return parts, opposite


def info_nce(
    anchors: tf.Tensor,
    neighbours: tf.Tensor,
    sessions: tf.Tensor,
    rows: slice,
    similarity: Similarity,
) -> tuple[Parts, tf.Tensor]:
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
        rows: of the pairs whose two tiles ask.
        similarity: of rows ``[n, size]`` and ``[m, size]``, ``[n, m]``: the logits.

    Returns:
        ``loss``; ``contrastive_accuracy``: share of tiles whose partner is more similar than every
        other candidate; mean ``neighbour_similarity`` of partners and ``opposite_similarity`` of
        the other candidates. Tiles without a tile of another session do not count; where all are
        so, the loss is 0.
    """
    own = tf.concat([anchors[rows], neighbours[rows]], axis=0)  # [2 rows, size]
    tiles = tf.concat([anchors, neighbours], axis=0)  # [2 batch, size]
    own_sessions, tile_sessions = tf.tile(sessions[rows], [2]), tf.tile(sessions, [2])
    opposite = own_sessions[:, None] != tile_sessions[None, :]  # [2 rows, 2 batch]
    logits = similarity(own, tiles)
    batch = tf.shape(sessions)[0]
    columns = tf.range(batch)[rows]  # of the anchors; batch further on, of their neighbours
    partners = tf.concat([columns + batch, columns], axis=0)
    to_partners = tf.gather(logits, partners[:, None], batch_dims=1)  # [2 rows, 1]
    to_opposites = tf.where(opposite, logits, logits.dtype.min)
    to_all = tf.concat([to_partners, to_opposites], axis=1)  # [2 rows, 1 + 2 batch]
    losses = tf.reduce_logsumexp(to_all, axis=1, keepdims=True) - to_partners
    nearest = tf.reduce_max(to_opposites, axis=1, keepdims=True)
    valid = tf.reduce_any(opposite, axis=1, keepdims=True)
    parts = {
        "loss": part_of(losses, valid),
        "contrastive_accuracy": part_of(tf.cast(to_partners > nearest, losses.dtype), valid),
        "neighbour_similarity": part_of(to_partners),
        "opposite_similarity": part_of(logits, opposite),
    }
    return parts, opposite


def count_false_opposites(opposite: tf.Tensor, labels: tf.Tensor, rows: slice) -> Parts:
    """Count the opposites of the same label, which a loss pushes away in error.

    Labels serve this measure alone, after the gradient.

    Args:
        opposite: as a loss gives it for these rows.
        labels: ``[batch, 2]``, of anchors and neighbours; `NO_LABEL` where there is none.
        rows: that were computed.

    Returns:
        ``false_opposites``, of ``labelled_opposites`` where both tiles have a label.
    """
    of_tiles = anchors_first(labels)  # [2 batch]
    of_own = anchors_first(labels[rows])[: tf.shape(opposite)[0]]
    labelled = opposite & (of_own != NO_LABEL)[:, None] & (of_tiles != NO_LABEL)[None, :]
    false = labelled & (of_own[:, None] == of_tiles[None, :])
    return {
        "false_opposites": Part(tf.math.count_nonzero(false, dtype=tf.float32), tf.zeros([])),
        "labelled_opposites": Part(tf.math.count_nonzero(labelled, dtype=tf.float32), tf.zeros([])),
    }


def no_opposites(sessions: tf.Tensor) -> tf.Tensor:
    """Which tiles serve which as opposites, where none does: booleans ``[0, 2 batch]``."""
    return tf.zeros([0, 2 * tf.shape(sessions)[0]], tf.bool)


def part_of(values: tf.Tensor, mask: tf.Tensor | None = None) -> Part:
    """Sum and number of the values, or of those where `mask` is true."""
    counted = tf.ones_like(values, tf.bool) if mask is None else mask
    total = tf.reduce_sum(tf.where(counted, values, 0.0))
    return Part(total, tf.math.count_nonzero(counted, dtype=values.dtype))


def anchors_first(labels: tf.Tensor) -> tf.Tensor:
    """Labels of pairs ``[n, 2]`` as ``[2 n]``: of the anchors, then of the neighbours."""
    return tf.reshape(tf.transpose(labels), [-1])
