"""Every tile of some partitions, and fixed pools of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.silence import is_audible
from beam_features.schema.strip import Strip
from trainer.data.checks import require_shards
from trainer.data.features import Features, all_strips
from trainer.data.shards import CorruptRecords


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
    features: Features,
    partitions: Sequence[str],
    corrupt: CorruptRecords,
    *,
    batch_size: int = 256,
) -> Iterator[TileBatch]:
    """Every tile of the partitions once, in the order of the shards.

    A batch holds whole strips, and `batch_size` tiles or a few more.

    Raises:
        InputError: a shard is missing.
        JobError: more records are corrupt than `corrupt` allows.
    """
    require_shards(features, partitions)
    strips: list[Strip] = []
    for strip in all_strips(features, partitions, corrupt):
        strips.append(strip)
        if sum(len(strip.labels) for strip in strips) >= batch_size:
            yield _tile_batch(strips, features.info.feature_spec)
            strips = []
    if strips:
        yield _tile_batch(strips, features.info.feature_spec)


def _tile_batch(strips: Sequence[Strip], spec: FeatureSpec) -> TileBatch:
    log_mel = np.concatenate([strip.log_mel for strip in strips])
    return TileBatch(
        log_mel=log_mel,
        recording_ids=[name for strip in strips for name in strip.recording_ids],
        context_ids=[strip.context_id for strip in strips for _ in strip.labels],
        session_ids=[strip.session_id for strip in strips for _ in strip.labels],
        start_ms=[start for strip in strips for start in strip.start_ms],
        labels=[label for strip in strips for label in strip.labels],
        audible=is_audible(log_mel, spec),
    )


@dataclass(frozen=True)
class RetrievalPool:
    """Tiles ``[n, tile_frames, n_mels]`` for nearest-neighbour search, and where they are from.

    `start_ms` says where each starts in its context.
    Labels and recordings are only displayed: nothing is learned or measured with them.
    """

    log_mel: npt.NDArray[np.float16]
    contexts: npt.NDArray[np.object_]
    start_ms: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    recordings: npt.NDArray[np.object_]


def recording_ids(
    features: Features, partitions: Sequence[str], corrupt: CorruptRecords
) -> list[str]:
    """Ids of all recordings in the partitions, sorted."""
    strips = all_strips(features, partitions, corrupt)
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
    places: list[int] = []
    labels: list[int] = []
    recordings: list[str] = []
    for strip in all_strips(features, partitions, corrupt or CorruptRecords(budget=0)):
        audible = np.flatnonzero(is_audible(strip.log_mel, features.info.feature_spec))
        spread = np.linspace(0, len(audible) - 1, min(tiles_per_strip, len(audible)))
        chosen = audible[spread.round().astype(int)]
        tiles.append(strip.log_mel[chosen])
        labels += [strip.labels[tile] for tile in chosen]
        recordings += [strip.recording_ids[tile] for tile in chosen]
        contexts += [strip.context_id] * len(spread)
        places += (strip.first_tile + chosen).tolist()
        if len(contexts) >= size:
            break
    return RetrievalPool(
        np.concatenate(tiles),
        np.array(contexts, object),
        np.rint(np.array(places) * features.info.feature_spec.tile_s * 1000).astype(np.int64),
        np.array(labels, np.int64),
        np.array(recordings, object),
    )
