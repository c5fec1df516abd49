"""From shards to batches of pairs: the tf.data pipeline of training."""

import functools
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from beam_features.schema.feature_spec import MAX_TILES_PER_STRIP, FeatureSpec
from beam_features.schema.silence import silence_level
from beam_features.schema.strip import LOG_MEL_DTYPE, Strip
from trainer.data.features import Features
from trainer.data.sampling import Sampling, sample_pairs
from trainer.data.shards import CorruptRecords, read_strips

_SHUFFLE_BUFFER_BYTES = 100 * 2**20  # 4096 pairs of tiles of 1 s
_SHARDS_READ_AT_ONCE = 8
_STRIPS_SIDE_BY_SIDE = 64  # about 50 MB of tiles of 1 s
_HASH_BUCKETS = 2**62  # so many that two ids do not collide
_ROUNDING = 1e-6  # 0.29 s are 29 hops of 0.01 s, though 0.29 / 0.01 is less in floats


@dataclass(frozen=True)
class PairSource:
    """Where pairs come from.

    Each pass over the shards makes every audible tile an anchor once, except those without a
    neighbour; see `trainer.data.sampling.sample_pairs`.

    Attributes:
        features: where the shards are.
        partitions: which of them.
        neighbourhood_s: maximum distance between the starts of neighbours in time.
        batch_size: anchors per batch.
        positives: ``time``, ``sensor`` or both.
        corrupt: counts corrupt records; by default, one is an error.
    """

    features: Features
    partitions: Sequence[str]
    neighbourhood_s: float
    batch_size: int
    positives: Collection[str] = ("time",)
    corrupt: CorruptRecords = field(default_factory=lambda: CorruptRecords(budget=0))

    def batches(self, seed: int, epoch: int) -> tf.data.Dataset:
        """Endless batches of an epoch; the same for the same seed and epoch.

        Returns:
            ``anchors`` and ``neighbours`` float16 ``[batch, tile_frames, n_mels]``, ``sessions``
            int64 ``[batch]``, and ``labels`` int64 ``[batch, 2]`` of both.
        """
        spec, shard_uris = self._spec, self.features.shard_uris(self.partitions)
        order_seed, shuffle_seed, pair_seed = (
            np.random.SeedSequence([seed, epoch]).generate_state(3).astype(np.int64).tolist()
        )
        # Each repetition draws again from the seeds: order of shards, pairs, order of pairs.
        shards = tf.data.Dataset.from_tensor_slices(shard_uris).shuffle(len(shard_uris), order_seed)
        groups = shards.interleave(
            lambda uri: tf.data.Dataset.from_generator(
                self._groups, args=(uri,), output_signature=_column_types(spec.tile_shape)
            ),
            cycle_length=min(_SHARDS_READ_AT_ONCE, len(shard_uris)),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        first = tf.constant(pair_seed, tf.int64)
        draws = tf.data.Dataset.random(pair_seed, rerandomize_each_iteration=True)
        pairs = tf.data.Dataset.zip((groups, draws)).map(
            lambda group, draw: self._to_pairs(group, tf.stack([first, draw])),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        pair_bytes = 2 * math.prod(spec.tile_shape) * LOG_MEL_DTYPE.itemsize
        buffer_size = max(_SHUFFLE_BUFFER_BYTES // pair_bytes, self.batch_size)
        pairs = pairs.unbatch().shuffle(buffer_size, shuffle_seed).repeat()
        return pairs.batch(self.batch_size, drop_remainder=True)

    @property
    def _spec(self) -> FeatureSpec:
        return self.features.info.feature_spec

    @property
    def _sampling(self) -> Sampling:
        return Sampling(
            neighbourhood_frames=int(self.neighbourhood_s / self._spec.hop_s + _ROUNDING),
            in_time="time" in self.positives,
            at_sensors="sensor" in self.positives,
            silence=silence_level(self._spec),
        )

    def _groups(self, uri: bytes) -> Iterator[dict[str, Any]]:
        strips = read_strips(uri.decode(), self._spec.tile_shape, self.corrupt)
        sensors = "sensor" in self.positives
        groups = side_by_side(strips) if sensors else ([strip] for strip in strips)
        return map(_columns, groups)

    @functools.cached_property
    def _to_pairs(self) -> Callable[[dict[str, tf.Tensor], tf.Tensor], dict[str, tf.Tensor]]:
        """Graph of the sampling, traced once for all epochs."""

        def to_pairs(group: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
            numbered = group | {
                name: tf.strings.to_hash_bucket_fast(group[name], _HASH_BUCKETS)
                for name in ("recording", "sensor", "session")
            }
            pairs = sample_pairs(numbered, self._sampling, seed)
            del pairs["starts"]
            sessions = tf.repeat(numbered["session"], tf.shape(pairs["anchors"])[0])
            return pairs | {"sessions": sessions}

        return tf.function(to_pairs, reduce_retracing=True)  # type: ignore[no-any-return]


def side_by_side(strips: Iterable[Strip]) -> Iterator[list[Strip]]:
    """Group strips that follow each other and are of one session and one span of its timeline.

    The feature job ends strips at the same points of every timeline and sorts those of several
    sensors by time. So the size of a group does not grow with the length of a session, nor with the
    number of its contexts, since a group has at most `_STRIPS_SIDE_BY_SIDE` strips.
    """
    spans = itertools.groupby(strips, lambda s: (s.session_id, s.first_tile // MAX_TILES_PER_STRIP))
    for _, span in spans:
        while group := list(itertools.islice(span, _STRIPS_SIDE_BY_SIDE)):
            yield group


def _columns(group: Sequence[Strip]) -> dict[str, Any]:
    """Concatenate strips of one session for `sample_pairs`; ids are still strings."""
    return {
        "log_mel": np.concatenate([strip.log_mel for strip in group]),
        "recording": [name for strip in group for name in strip.recording_ids],
        "label": [label for strip in group for label in strip.labels],
        "n_tiles": [len(strip.log_mel) for strip in group],
        "first_tile": [strip.first_tile for strip in group],
        "sensor": [strip.sensor_id for strip in group],
        "session": group[0].session_id,
    }


def _column_types(tile_shape: tuple[int, int]) -> dict[str, tf.TensorSpec]:
    return {
        "log_mel": tf.TensorSpec([None, *tile_shape], tf.float16),
        "recording": tf.TensorSpec([None], tf.string),
        "label": tf.TensorSpec([None], tf.int64),
        "n_tiles": tf.TensorSpec([None], tf.int64),
        "first_tile": tf.TensorSpec([None], tf.int64),
        "sensor": tf.TensorSpec([None], tf.string),
        "session": tf.TensorSpec([], tf.string),
    }
