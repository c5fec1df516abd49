"""Shards to batches: tf.data pipelines for training and for embedding every tile."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_features.schema.dataset_info import DATASET_INFO, DatasetInfo, parse_dataset_info
from beam_features.schema.errors import InputError
from beam_features.schema.strip import Strip, decode_strip, parse_strip
from trainer import storage
from trainer.sampling import sample_pairs

_PAIRS_IN_SHUFFLE_BUFFER = 4096  # about 100 MB of tiles of 1 s
_SHARDS_READ_AT_ONCE = 8
_HASH_BUCKETS = 2**62  # so many that two ids do not meet
_ROUNDING = 1e-6  # 0.6 s are three tiles of 0.2 s, though 0.6 / 0.2 is less than 3 in floats
_ABOVE_SILENCE = 0.01  # log units above log(log_offset) that float16 can tell apart


@dataclass(frozen=True)
class Features:
    """A finished features directory."""

    uri: str
    info: DatasetInfo

    def shard_uris(self, partitions: Sequence[str]) -> list[str]:
        """URIs of all shards of the partitions, in order.

        Raises:
            InputError: there is no such partition.
        """
        for name in partitions:
            if name not in self.info.partitions:
                known = ", ".join(self.info.partitions)
                raise InputError(f"no partition {name!r} in {self.uri}; it has: {known}")
        return [
            storage.join(self.uri, shard)
            for name in partitions
            for shard in self.info.partitions[name].shard_names()
        ]

    @property
    def silence(self) -> float:
        """Log-mel value of digital silence, and a little: what is not above it is silent."""
        return float(np.log(self.info.feature_spec.log_offset)) + _ABOVE_SILENCE


def open_features(uri: str) -> Features:
    """Open a features directory.

    Raises:
        InputError: it does not exist, or the job that makes it has not finished.
    """
    info_uri = storage.join(uri, DATASET_INFO)
    try:
        text = storage.read_text(info_uri)
    except FileNotFoundError as error:
        raise InputError(
            f"{info_uri} does not exist: {uri!r} holds no finished features; make them with "
            "python -m beam_features"
        ) from error
    return Features(uri.rstrip("/"), parse_dataset_info(text, info_uri))


def pair_batches(
    features: Features,
    partitions: Sequence[str],
    *,
    neighbourhood_s: float,
    batch_size: int,
    seed: int,
    epoch: int,
) -> tf.data.Dataset:
    """Endless batches of pairs; the same for the same arguments.

    Each pass over the shards makes every tile that is not silent an anchor once.

    Returns:
        ``anchors`` and ``neighbours`` float16 ``[batch, tile_frames, n_mels]``, ``sessions`` int64
        ``[batch]``.
    """
    shard_uris = features.shard_uris(partitions)
    spec = features.info.feature_spec
    order_seed, shuffle_seed, pair_seed = (
        np.random.SeedSequence([seed, epoch]).generate_state(3).astype(np.int64).tolist()
    )

    def to_pairs(serialized: tf.Tensor, draw: tf.Tensor) -> dict[str, tf.Tensor]:
        strip = parse_strip(serialized, spec.tile_shape)
        anchors, neighbours = sample_pairs(
            strip["log_mel"],
            tf.strings.to_hash_bucket_fast(strip["recording_id"], _HASH_BUCKETS),
            neighbourhood_tiles=int(neighbourhood_s / spec.tile_s + _ROUNDING),
            silence=features.silence,
            seed=tf.stack([tf.constant(pair_seed, tf.int64), draw]),
        )
        session = tf.strings.to_hash_bucket_fast(strip["session_id"], _HASH_BUCKETS)
        sessions = tf.repeat(session, tf.shape(anchors)[0])
        return {"anchors": anchors, "neighbours": neighbours, "sessions": sessions}

    # Each repetition draws anew from the seeds: order of shards, pairs, order of pairs.
    shards = tf.data.Dataset.from_tensor_slices(shard_uris).shuffle(len(shard_uris), order_seed)
    strips = shards.interleave(
        tf.data.TFRecordDataset,
        cycle_length=min(_SHARDS_READ_AT_ONCE, len(shard_uris)),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    draws = tf.data.Dataset.random(pair_seed, rerandomize_each_iteration=True)
    pairs = tf.data.Dataset.zip((strips, draws))
    pairs = pairs.map(to_pairs, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    pairs = pairs.shuffle(_PAIRS_IN_SHUFFLE_BUFFER, shuffle_seed)
    return pairs.repeat().batch(batch_size, drop_remainder=True)


def tile_batches(
    features: Features, partitions: Sequence[str], *, batch_size: int = 256
) -> tf.data.Dataset:
    """Every tile of the partitions once, in the order of the shards.

    Returns:
        Batches of ``log_mel`` float16 ``[batch, tile_frames, n_mels]`` and, per tile,
        ``recording_id``, ``context_id``, ``session_id``, ``start_ms``, ``label``.
    """
    spec = features.info.feature_spec

    def to_tiles(serialized: tf.Tensor) -> dict[str, tf.Tensor]:
        strip = parse_strip(serialized, spec.tile_shape)
        n_tiles = tf.shape(strip["log_mel"])[0]
        return {
            "log_mel": strip["log_mel"],
            "recording_id": strip["recording_id"],
            "context_id": tf.repeat(strip["context_id"], n_tiles),
            "session_id": tf.repeat(strip["session_id"], n_tiles),
            "start_ms": strip["start_ms"],
            "label": strip["label"],
        }

    strips = tf.data.TFRecordDataset(features.shard_uris(partitions))
    tiles = strips.map(to_tiles, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    return tiles.batch(batch_size).prefetch(tf.data.AUTOTUNE)


@dataclass(frozen=True)
class RetrievalPool:
    """Tiles ``[n, tile_frames, n_mels]`` among which the nearest is looked for, and contexts.

    Labels are for people to look at: nothing is learned or measured with them.
    """

    log_mel: npt.NDArray[np.float16]
    contexts: npt.NDArray[np.object_]
    labels: npt.NDArray[np.int64]


def require_opposites(features: Features, partitions: Sequence[str]) -> None:
    """Raise an InputError unless two sessions of the partitions are heard: else no triplet is."""
    heard: set[str] = set()
    for strip in _strips(features, partitions):
        if strip.log_mel.max() > features.silence:
            heard.add(strip.session_id)
        if len(heard) > 1:
            return
    raise InputError(
        f"{len(heard)} sessions of {', '.join(partitions)} in {features.uri} are not silent; a "
        "triplet needs two: choose other train_partitions"
    )


def retrieval_pool(
    features: Features, partitions: Sequence[str], *, tiles_per_strip: int = 8, size: int = 4096
) -> RetrievalPool:
    """Take a fixed pool of tiles that are not silent, spread evenly over the first strips.

    Shards hold their contexts in the order of a hash, so the first strips are a fair sample. Few
    tiles of a strip keep neighbours in time, which are too easy, from filling the pool.
    """
    tiles = [np.empty((0, *features.info.feature_spec.tile_shape), np.float16)]
    contexts: list[str] = []
    labels: list[int] = []
    for strip in _strips(features, partitions):
        audible = np.flatnonzero(strip.log_mel.max(axis=(1, 2)) > features.silence)
        spread = np.linspace(0, len(audible) - 1, min(tiles_per_strip, len(audible)))
        chosen = audible[spread.round().astype(int)]
        tiles.append(strip.log_mel[chosen])
        labels += [strip.labels[tile] for tile in chosen]
        contexts += [strip.context_id] * len(spread)
        if len(contexts) >= size:
            break
    return RetrievalPool(
        np.concatenate(tiles), np.array(contexts, object), np.array(labels, np.int64)
    )


def _strips(features: Features, partitions: Sequence[str]) -> Iterator[Strip]:
    """All strips of the partitions, in the order of the shards."""
    records = tf.data.TFRecordDataset(features.shard_uris(partitions))
    for serialized in records.as_numpy_iterator():
        yield decode_strip(serialized, features.info.feature_spec.tile_shape)
