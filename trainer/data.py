"""Shards to batches: a tf.data pipeline for training, and every tile for embedding."""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from beam_features.schema.access import named_by_user
from beam_features.schema.dataset_info import DATASET_INFO, DatasetInfo, parse_dataset_info
from beam_features.schema.errors import InputError
from beam_features.schema.feature_spec import MAX_TILES_PER_STRIP, FeatureSpec
from beam_features.schema.strip import LOG_MEL_DTYPE, Strip
from trainer import storage
from trainer.sampling import Sampling, sample_pairs
from trainer.shards import CorruptRecords, read_strips

_SHUFFLE_BUFFER_BYTES = 100 * 2**20  # 4096 pairs of tiles of 1 s
_SHARDS_READ_AT_ONCE = 8
_STRIPS_SIDE_BY_SIDE = 64  # about 50 MB of tiles of 1 s
_HASH_BUCKETS = 2**62  # so many that two ids do not meet
_ROUNDING = 1e-6  # 0.29 s are 29 hops of 0.01 s, though 0.29 / 0.01 is less in floats
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
        return silence(self.info.feature_spec)


def silence(spec: FeatureSpec) -> float:
    """Log-mel value up to which a tile of such features is silent."""
    return float(np.log(spec.log_offset)) + _ABOVE_SILENCE


def open_features(uri: str) -> Features:
    """Open a features directory.

    Raises:
        InputError: it does not exist, or the job that makes it has not finished.
    """
    info_uri = storage.join(uri, DATASET_INFO)
    try:
        with named_by_user():
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
    positives: Collection[str] = ("time",),
    neighbourhood_s: float,
    batch_size: int,
    seed: int,
    epoch: int,
    corrupt: CorruptRecords | None = None,
) -> tf.data.Dataset:
    """Endless batches of pairs; the same for the same arguments.

    Each pass over the shards makes every tile that is not silent an anchor once, but for those
    without a neighbour; see `trainer.sampling.sample_pairs`.

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


@dataclass(frozen=True)
class TileBatch:
    """Tiles ``[n, tile_frames, n_mels]`` and, per tile, where it comes from and its label."""

    log_mel: npt.NDArray[np.float16]
    recording_ids: list[str]
    context_ids: list[str]
    session_ids: list[str]
    start_ms: list[int]
    labels: list[int]
    audible: npt.NDArray[np.bool_]  # false: digital silence


def tile_batches(
    features: Features, partitions: Sequence[str], *, batch_size: int = 256
) -> Iterator[TileBatch]:
    """Every tile of the partitions once, in the order of the shards.

    A batch holds whole strips, and `batch_size` tiles or a few more.

    Raises:
        InputError: a shard is missing.
        JobError: a record is damaged; the line names the shard.
    """
    require_shards(features, partitions)
    strips: list[Strip] = []
    for strip in _strips(features, partitions, CorruptRecords(budget=0)):
        strips.append(strip)
        if sum(len(strip.labels) for strip in strips) >= batch_size:
            yield _tile_batch(strips, features.silence)
            strips = []
    if strips:
        yield _tile_batch(strips, features.silence)


def first_batches(
    features: Features, partitions: Sequence[str], most_tiles: int, *, batch_size: int = 256
) -> Iterator[TileBatch]:
    """Batches from the start of each partition, until it has given its share of `most_tiles`.

    A partition gives whole batches, so up to a batch more, and all that it has if that is less.
    """
    for name in partitions:
        left = most_tiles // len(partitions)
        for batch in tile_batches(features, [name], batch_size=batch_size):
            yield batch
            left -= len(batch.labels)
            if left <= 0:
                break


def _tile_batch(strips: Sequence[Strip], silent_level: float) -> TileBatch:
    log_mel = np.concatenate([strip.log_mel for strip in strips])
    return TileBatch(
        log_mel=log_mel,
        recording_ids=[name for strip in strips for name in strip.recording_ids],
        context_ids=[strip.context_id for strip in strips for _ in strip.labels],
        session_ids=[strip.session_id for strip in strips for _ in strip.labels],
        start_ms=[start for strip in strips for start in strip.start_ms],
        labels=[label for strip in strips for label in strip.labels],
        audible=log_mel.max(axis=(1, 2)) > silent_level,
    )


@dataclass(frozen=True)
class RetrievalPool:
    """Tiles ``[n, tile_frames, n_mels]`` among which the nearest is looked for, and contexts.

    Labels and recordings are for people to look at: nothing is learned or measured with them.
    """

    log_mel: npt.NDArray[np.float16]
    contexts: npt.NDArray[np.object_]
    labels: npt.NDArray[np.int64]
    recordings: npt.NDArray[np.object_]


def require_shards(features: Features, partitions: Sequence[str]) -> None:
    """Raise an InputError unless all shards of the partitions are there."""
    there = set(storage.list_names(features.uri, ".tfrecord"))
    for uri in features.shard_uris(partitions):
        if uri.rpartition("/")[2] not in there:
            raise InputError(f"{uri} does not exist; copy it there or make the features again")


def require_pairs(
    features: Features,
    partitions: Sequence[str],
    positives: Collection[str],
    corrupt: CorruptRecords,
) -> None:
    """Raise an InputError unless the partitions hold what `pair_batches` is asked for.

    That is two sessions that are heard, since else there is no triplet, and for positives at
    sensors a moment of two. Reading ends when both are found.
    """
    heard: set[str] = set()
    two_sensors = "sensor" not in positives
    for group in side_by_side(_strips(features, partitions, corrupt)):
        heard |= {strip.session_id for strip in group if strip.log_mel.max() > features.silence}
        two_sensors |= len({strip.sensor_id for strip in group}) > 1
        if len(heard) > 1 and two_sensors:
            return
    names = f"{', '.join(partitions)} in {features.uri}"
    if len(heard) < 2:
        raise InputError(
            f"{len(heard)} sessions of {names} are not silent; a triplet needs two: choose other "
            "train_partitions"
        )
    raise InputError(
        f"no session of {names} was heard by two sensors at a time; set positives=[time], or make "
        "features that have them, with this version and, of several channels, channels=all"
    )


def require_audible(features: Features, partitions: Sequence[str], corrupt: CorruptRecords) -> None:
    """Raise an InputError where all tiles of the partitions are silent, or there are none."""
    for strip in _strips(features, partitions, corrupt):
        if strip.log_mel.max() > features.silence:
            return
    raise InputError(
        f"nothing in {', '.join(partitions)} of {features.uri} can be heard; choose other "
        "validation_partitions, or [] for none"
    )


def recording_ids(
    features: Features, partitions: Sequence[str], corrupt: CorruptRecords
) -> list[str]:
    """Ids of all recordings in the partitions, sorted."""
    strips = _strips(features, partitions, corrupt)
    return sorted({name for strip in strips for name in strip.recording_ids})


def retrieval_pool(
    features: Features,
    partitions: Sequence[str],
    *,
    tiles_per_strip: int = 8,
    size: int = 4096,
    corrupt: CorruptRecords | None = None,
) -> RetrievalPool:
    """Take a fixed pool of tiles that are not silent, spread evenly over the first strips.

    Shards hold their contexts in the order of a hash, so the first strips are a fair sample. Few
    tiles of a strip keep neighbours in time, which are too easy, from filling the pool.
    """
    tiles = [np.empty((0, *features.info.feature_spec.tile_shape), np.float16)]
    contexts: list[str] = []
    labels: list[int] = []
    recordings: list[str] = []
    for strip in _strips(features, partitions, corrupt or CorruptRecords(budget=0)):
        audible = np.flatnonzero(strip.log_mel.max(axis=(1, 2)) > features.silence)
        spread = np.linspace(0, len(audible) - 1, min(tiles_per_strip, len(audible)))
        chosen = audible[spread.round().astype(int)]
        tiles.append(strip.log_mel[chosen])
        labels += [strip.labels[tile] for tile in chosen]
        recordings += [strip.recording_ids[tile] for tile in chosen]
        contexts += [strip.context_id] * len(spread)
        if len(contexts) >= size:
            break
    return RetrievalPool(
        np.concatenate(tiles),
        np.array(contexts, object),
        np.array(labels, np.int64),
        np.array(recordings, object),
    )


def _strips(
    features: Features, partitions: Sequence[str], corrupt: CorruptRecords
) -> Iterator[Strip]:
    """All strips of the partitions, in the order of the shards."""
    for uri in features.shard_uris(partitions):
        yield from read_strips(uri, features.info.feature_spec.tile_shape, corrupt)
