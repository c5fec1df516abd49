"""The input of training before version 0.4.0, as a rival of the frame store.

A Python generator per shard decodes records, several of them are interleaved, each strip is cut
into pairs, and a buffer of 4096 pairs mixes them. Only neighbours in time, and one host.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from beam_features.schema.silence import silence_level
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords, read_strips

BUFFER_PAIRS = 4096  # 100 MiB of tiles of 1 s
_SHARDS_READ_AT_ONCE = 8
_HASH_BUCKETS = 2**62

Group = dict[str, tf.Tensor]


def batches(
    features: Features, partitions: list[str], neighbourhood_s: float, batch_size: int, epoch: int
) -> tf.data.Dataset:
    """Endless batches of an epoch: ``anchors`` and ``neighbours``, ``sessions`` and ``labels``."""
    spec, shard_uris = features.info.feature_spec, features.shard_uris(partitions)
    order_seed, shuffle_seed, pair_seed = (
        np.random.SeedSequence([0, epoch]).generate_state(3).astype(np.int64).tolist()
    )
    to_pairs = _to_pairs(round(neighbourhood_s / spec.hop_s), silence_level(spec))

    def groups(uri: bytes) -> Iterator[dict[str, Any]]:
        strips = read_strips(uri.decode(), spec.tile_shape, CorruptRecords(0))
        for strip in strips:
            yield {
                "log_mel": np.concatenate([strip.log_mel]),  # as for several sensors
                "recording": list(strip.recording_ids),
                "label": list(strip.labels),
                "session": strip.session_id,
            }

    types = {
        "log_mel": tf.TensorSpec([None, *spec.tile_shape], tf.float16),
        "recording": tf.TensorSpec([None], tf.string),
        "label": tf.TensorSpec([None], tf.int64),
        "session": tf.TensorSpec([], tf.string),
    }
    shards = tf.data.Dataset.from_tensor_slices(shard_uris).shuffle(len(shard_uris), order_seed)
    read = shards.interleave(
        lambda uri: tf.data.Dataset.from_generator(groups, args=(uri,), output_signature=types),
        cycle_length=min(_SHARDS_READ_AT_ONCE, len(shard_uris)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    first = tf.constant(pair_seed, tf.int64)
    draws = tf.data.Dataset.random(pair_seed, rerandomize_each_iteration=True)
    pairs = tf.data.Dataset.zip((read, draws)).map(
        lambda group, draw: to_pairs(group, tf.stack([first, draw])),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    pairs = pairs.unbatch().shuffle(max(BUFFER_PAIRS, batch_size), shuffle_seed).repeat()
    return pairs.batch(batch_size, drop_remainder=True)


def distribute(
    strategy: tf.distribute.Strategy, batches: tf.data.Dataset, batch_size: int
) -> Iterator[Any]:
    """Iterate over global batches, divided among the replicas of this host."""
    local_rows = batch_size // strategy.num_replicas_in_sync

    def rows_of_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
        rows = batch_size // context.num_input_pipelines
        first = rows * context.input_pipeline_id
        own = batches.map(
            lambda batch: {name: values[first : first + rows] for name, values in batch.items()}
        )
        return own.rebatch(local_rows, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    return iter(strategy.distribute_datasets_from_function(rows_of_host))


def _to_pairs(reach: int, silence: float) -> Callable[[Group, tf.Tensor], Group]:
    def to_pairs(group: Group, seed: tf.Tensor) -> Group:
        numbered = group | {
            name: tf.strings.to_hash_bucket_fast(group[name], _HASH_BUCKETS)
            for name in ("recording", "session")
        }
        return _sample_pairs(numbered, reach, silence, seed)

    return tf.function(to_pairs, reduce_retracing=True)  # type: ignore[no-any-return]


def _sample_pairs(group: Group, reach: int, silence: float, seed: tf.Tensor) -> Group:
    """Draw an anchor around every audible tile of a strip, and a neighbour of it in time."""
    log_mel = group["log_mel"]
    tile_frames, n_mels = log_mel.shape[1], log_mel.shape[2]
    frames = tf.reshape(log_mel, [-1, n_mels])
    end = tf.shape(frames)[0]
    audible = tf.reduce_max(tf.cast(log_mel, tf.float32), axis=2) > silence
    change = group["recording"][1:] != group["recording"][:-1]
    cuts = _Cuts.of(audible, tf.pad(tf.cumsum(tf.cast(change, tf.int32)), [[1, 0]]))

    tiles = tf.boolean_mask(tf.range(tf.shape(log_mel)[0]), tf.reduce_any(audible, axis=1))
    draws = tf.gather(tf.random.stateless_uniform([tf.shape(log_mel)[0], 3], seed), tiles)
    grid, jitter = tiles * tile_frames, tile_frames // 2
    near = tf.maximum(grid - jitter, 0), tf.minimum(grid + jitter + 1, end)
    anchors, _ = cuts.draw([near], draws[:, 0])

    earliest, latest = tf.maximum(anchors - reach, 0), tf.minimum(anchors + reach + 1, end)
    apart = [(earliest, anchors - tile_frames + 1), (anchors + tile_frames, latest)]
    neighbours, found = cuts.draw(apart, draws[:, 1])
    closer, found_closer = cuts.draw([(earliest, anchors), (anchors + 1, latest)], draws[:, 1])
    neighbours = tf.where(found, neighbours, tf.where(found_closer, closer, anchors))

    starts = tf.stack([anchors, neighbours], axis=1)
    pairs = tf.gather(frames, starts[:, :, None] + tf.range(tile_frames))
    pairs = tf.ensure_shape(pairs, [None, 2, tile_frames, n_mels])
    return {
        "anchors": pairs[:, 0],
        "neighbours": pairs[:, 1],
        "labels": tf.ensure_shape(tf.gather(group["label"], starts // tile_frames), [None, 2]),
        "sessions": tf.repeat(group["session"], tf.shape(pairs)[0]),
    }


@dataclass(frozen=True)
class _Cuts:
    """Admissible first frames, as the count of them before each frame ``[n_frames + 1]``."""

    before: tf.Tensor

    @classmethod
    def of(cls, audible: tf.Tensor, runs: tf.Tensor) -> "_Cuts":
        tile_frames = audible.shape[1]
        run = tf.repeat(runs, tile_frames)
        heard = tf.pad(tf.cumsum(tf.cast(tf.reshape(audible, [-1]), tf.int32)), [[1, 0]])
        whole = run[: -tile_frames + 1 or None] == run[tile_frames - 1 :]
        loud = heard[tile_frames:] > heard[:-tile_frames]
        admissible = tf.pad(tf.cast(whole & loud, tf.int32), [[1, tile_frames - 1]])
        return cls(tf.cumsum(admissible))

    def draw(
        self, spans: list[tuple[tf.Tensor, tf.Tensor]], draws: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draw uniformly from the admissible starts in spans; also say whether there are any."""
        n_frames = tf.shape(self.before)[0] - 1
        counts, total = [], tf.zeros_like(draws, tf.int32)
        for span in spans:
            begin, stop = (tf.gather(self.before, tf.clip_by_value(x, 0, n_frames)) for x in span)
            counts.append((begin, tf.maximum(stop - begin, 0)))
            total += counts[-1][1]
        wanted = tf.cast(draws * tf.cast(total, tf.float32), tf.int32)
        rank = tf.zeros_like(wanted)
        for begin, count in counts:
            rank = tf.where((wanted >= 0) & (wanted < count), begin + wanted, rank)
            wanted -= count
        starts = tf.searchsorted(self.before, rank, side="right") - 1
        return tf.minimum(starts, n_frames - 1), total > 0
