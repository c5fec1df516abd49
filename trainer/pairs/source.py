"""Batches of pairs: which pairs make a step, and the pipeline that draws them ahead."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import tensorflow as tf

from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError
from trainer.pairs.draw import N_DRAWS, PairDraw, Rules
from trainer.pairs.permutation import key_of, permute
from trainer.store.index import Index

_ROUNDING = 1e-6  # 0.29 s are 29 hops of 0.01 s, though 0.29 / 0.01 is less in floats

Cut = Callable[[tf.Tensor], tf.Tensor]
"""From first frames ``[n, 2]`` to tiles, float16 ``[n, 2, tile_frames, n_mels]``."""


def pair_rules(spec: FeatureSpec, neighbourhood_s: float, positives: Collection[str]) -> Rules:
    """Convert settings to rules in frames."""
    frames = int(neighbourhood_s / spec.hop_s + _ROUNDING)
    return Rules(frames, "time" in positives, "sensor" in positives)


@dataclass(frozen=True)
class PairSource:
    """Which pairs make a step: a function of the seed, the step and the row.

    The anchors of all steps in a row are permutations of all audible tiles, one after the other: in
    each, every tile is an anchor once.

    Attributes:
        draw: draws pairs.
        batch_size: pairs of the global batch.
        seed: of order and pairs.
    """

    draw: PairDraw
    batch_size: int
    seed: int

    def rows(self, step: tf.Tensor, first: tf.Tensor, count: int) -> dict[str, tf.Tensor]:
        """Draw some rows of a step's batch; see `PairDraw.draw`.

        Args:
            step: int64, from 0.
            first: int64, the first row.
            count: how many.
        """
        numbers = step * self.batch_size + first + tf.range(count, dtype=tf.int64)
        passes, places = numbers // self.draw.n_anchors, numbers % self.draw.n_anchors
        places = permute(places, key_of(self.seed, passes), self.draw.n_anchors)
        seed = tf.stack([tf.constant(self.seed, tf.int64), step])
        draws = tf.random.stateless_uniform([self.batch_size, N_DRAWS], seed)
        return self.draw.draw(places, tf.slice(draws, [first, 0], [count, N_DRAWS]))

    def batches(
        self, steps: tuple[int, int], parts: tuple[int, int, int], cut: Cut | None
    ) -> tf.data.Dataset:
        """The parts of each step's batch that are for the replicas of a host, in their order.

        Args:
            steps: from a first step up to, not including, an end.
            parts: the number of equal parts of a batch, and the first and the number of those to
                give.
            cut: also give the ``tiles`` of the pairs; None: a later stage cuts them.
        """
        n_parts, first_part, own_parts = parts
        count = self.batch_size // n_parts

        def part(number: tf.Tensor) -> dict[str, tf.Tensor]:
            step, own = number // own_parts, number % own_parts
            batch = self.rows(step, (first_part + own) * count, count)
            return batch if cut is None else batch | {"tiles": cut(batch["starts"])}

        begin, end = steps
        numbers = tf.data.Dataset.range(begin * own_parts, end * own_parts)
        drawn = numbers.map(part, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        return drawn.prefetch(tf.data.AUTOTUNE)


def require_pairs(
    index: Index, draw: PairDraw, positives: Collection[str], names: Collection[str], uri: str
) -> None:
    """Raise an InputError unless there are pairs of the kinds in `positives`.

    A triplet needs two audible sessions; positives at sensors need an instant that two sensors
    recorded.
    """
    where = f"{', '.join(names)} in {uri}"
    sessions = index.audible_sessions()
    if sessions < 2:
        raise InputError(
            f"{sessions} sessions of {where} are audible, but a triplet needs two; choose other "
            "train_partitions"
        )
    if "sensor" in positives and not draw.n_elsewhere:
        raise InputError(
            f"no session of {where} was recorded by two sensors at the same time; set "
            "positives=[time], or make features with channels=all from recordings of several "
            "channels"
        )
