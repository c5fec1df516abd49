"""Shards to batches: a tf.data pipeline for training, and every tile for embedding."""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from beam_features.schema.feature_spec import MAX_TILES_PER_STRIP
from beam_features.schema.strip import LOG_MEL_DTYPE, Strip
from trainer.data.features import Features
from trainer.data.sampling import Sampling, sample_pairs
from trainer.data.shards import CorruptRecords, read_strips

_SHUFFLE_BUFFER_BYTES = 100 * 2**20  # 4096 pairs of tiles of 1 s
_SHARDS_READ_AT_ONCE = 8
_STRIPS_SIDE_BY_SIDE = 64  # about 50 MB of tiles of 1 s
_HASH_BUCKETS = 2**62  # so many that two ids do not meet
_ROUNDING = 1e-6  # 0.29 s are 29 hops of 0.01 s, though 0.29 / 0.01 is less in floats
_ABOVE_SILENCE = 0.01  # log units above log(log_offset) that float16 can tell apart


def pair_batches(
    features: Features,
    partitions: Sequence[str],
    *,
    positives: Collection[str] = ("time",),
    neighbourhood_s: float,
    batch_size: int,
    seed: int,
    epoch: int,
    corrupt: CorruptRecords | None = None,
) -> tf.data.Dataset:
    """Endless batches of pairs; the same for the same arguments.

    Each pass over the shards makes every tile that is not silent an anchor once, but for those
    without a neighbour; see `trainer.data.sampling.sample_pairs`.

    Args:
        features: where the shards are.
        partitions: which of them.
        positives: ``time``, ``sensor`` or both.
        neighbourhood_s: the farthest apart that neighbours in time start.
        batch_size: anchors per batch.
        seed: of everything random.
        epoch: likewise.
        corrupt: counts damaged records; None: one is an error.

    Returns:
        ``anchors`` and ``neighbours`` float16 ``[batch, tile_frames, n_mels]``, ``sessions`` int64
        ``[batch]``, and ``labels`` int64 ``[batch, 2]`` of both, which only measures look at.
    """
    spec = features.info.feature_spec
    shard_uris = features.shard_uris(partitions)
    corrupt = corrupt or CorruptRecords(budget=0)
    sampling = Sampling(
        neighbourhood_frames=int(neighbourhood_s / spec.hop_s + _ROUNDING),
        in_time="time" in positives,
        at_sensors="sensor" in positives,
        silence=features.silence,
    )
    order_seed, shuffle_seed, pair_seed = (
        np.random.SeedSequence([seed, epoch]).generate_state(3).astype(np.int64).tolist()
    )

    def groups_of(uri: bytes) -> Iterator[dict[str, Any]]:
        strips = read_strips(uri.decode(), spec.tile_shape, corrupt)
        groups = side_by_side(strips) if sampling.at_sensors else ([strip] for strip in strips)
        return map(_columns, groups)

    def to_pairs(group: dict[str, tf.Tensor], draw: tf.Tensor) -> dict[str, tf.Tensor]:
        numbered = group | {
            name: tf.strings.to_hash_bucket_fast(group[name], _HASH_BUCKETS)
            for name in ("recording", "sensor", "session")
        }
        pairs = sample_pairs(numbered, sampling, tf.stack([tf.constant(pair_seed, tf.int64), draw]))
        del pairs["starts"]
        sessions = tf.repeat(numbered["session"], tf.shape(pairs["anchors"])[0])
        return pairs | {"sessions": sessions}

    # Each repetition draws anew from the seeds: order of shards, pairs, order of pairs.
    shards = tf.data.Dataset.from_tensor_slices(shard_uris).shuffle(len(shard_uris), order_seed)
    groups = shards.interleave(
        lambda uri: tf.data.Dataset.from_generator(
            groups_of, args=(uri,), output_signature=_column_types(spec.tile_shape)
        ),
        cycle_length=min(_SHARDS_READ_AT_ONCE, len(shard_uris)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    draws = tf.data.Dataset.random(pair_seed, rerandomize_each_iteration=True)
    pairs = tf.data.Dataset.zip((groups, draws))
    pairs = pairs.map(to_pairs, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    pair_bytes = 2 * math.prod(spec.tile_shape) * LOG_MEL_DTYPE.itemsize
    pairs = pairs.shuffle(max(_SHUFFLE_BUFFER_BYTES // pair_bytes, batch_size), shuffle_seed)
    return pairs.repeat().batch(batch_size, drop_remainder=True)


def side_by_side(strips: Iterable[Strip]) -> Iterator[list[Strip]]:
    """Group strips that follow each other and are of one session and one span of its timeline.

    The feature job ends strips at the same points of every timeline and sorts those of several
    sensors by time. So what a group holds does not grow with the length of a session; nor with the
    number of its contexts, since at most `_STRIPS_SIDE_BY_SIDE` are in one.
    """
    spans = itertools.groupby(strips, lambda s: (s.session_id, s.first_tile // MAX_TILES_PER_STRIP))
    for _, span in spans:
        while group := list(itertools.islice(span, _STRIPS_SIDE_BY_SIDE)):
            yield group


def _columns(group: Sequence[Strip]) -> dict[str, Any]:
    """Concatenate strips of one session for `sample_pairs`; ids are still words."""
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
