"""Batches of pairs: which pairs make a step, and the pipeline that draws them ahead."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import tensorflow as tf

from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError
from trainer.pairs.draw import N_DRAWS, PairDraw, Rules
from trainer.pairs.keyed import key_of, permute, uniform
from trainer.store.index import Index

_ROUNDING = 1e-6  # 0.29 s are 29 hops of 0.01 s, though 0.29 / 0.01 is less in floats
_plain = tf.autograph.experimental.do_not_convert  # there is nothing to convert: saves 0.5 s
_PAIRS_TOGETHER = 2048  # drawn in one call: the operations cost as much for one pair

Cut = Callable[[tf.Tensor], tf.Tensor]
"""From first frames ``[n, 2]`` to tiles, float16 ``[n, 2, tile_frames, n_mels]``."""


def pair_rules(spec: FeatureSpec, neighbourhood_s: float, positives: Collection[str]) -> Rules:
    """Convert settings to rules in frames."""
    frames = int(neighbourhood_s / spec.hop_s + _ROUNDING)
    return Rules(frames, "time" in positives, "sensor" in positives)


@dataclass(frozen=True)
class PairSource:
    """Which pairs make a step: row `i` of step `s` is pair ``s * batch_size + i`` of a seed.

    The anchors of these pairs are permutations of all audible tiles, one after the other: in each,
    every tile is an anchor once.

    Attributes:
        draw: draws pairs.
        batch_size: pairs of the global batch.
        seed: of order and pairs.
    """

    draw: PairDraw
    batch_size: int
    seed: int

    def pairs(self, numbers: tf.Tensor) -> dict[str, tf.Tensor]:
        """Draw the pairs of these numbers, int64 ``[n]``; see `PairDraw.draw`."""
        passes, places = numbers // self.draw.n_anchors, numbers % self.draw.n_anchors
        places = permute(places, key_of(self.seed, passes), self.draw.n_anchors)
        return self.draw.draw(places, uniform(key_of(self.seed, numbers, 0), N_DRAWS))

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
        rows = first_part * count + tf.range(own_parts * count, dtype=tf.int64)

        def several(of_steps: tf.Tensor) -> dict[str, tf.Tensor]:
            pairs = self.pairs(tf.reshape(of_steps[:, None] * self.batch_size + rows, [-1]))
            return {
                name: tf.reshape(values, [-1, count, *values.shape[1:]])
                for name, values in pairs.items()
            }

        together = max(_PAIRS_TOGETHER // (own_parts * count), 1)
        drawn = tf.data.Dataset.range(*steps).batch(together)
        drawn = drawn.map(_plain(several), num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        batches = drawn.unbatch()
        if cut is not None:
            batches = batches.map(
                _plain(lambda batch: batch | {"tiles": cut(batch["starts"])}),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
        return batches.prefetch(tf.data.AUTOTUNE)


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
