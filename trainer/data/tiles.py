"""Every tile of some partitions, and fixed pools of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from beam_features.schema.silence import is_above_silence, is_audible
from trainer.data.checks import require_shards
from trainer.data.columns import blocks_of, read_columns
from trainer.data.features import Features, all_strips
from trainer.data.overlap import shifted
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
    shift: int = 0,
) -> Iterator[TileBatch]:
    """Every tile of the partitions once, in the order of the shards.

    A batch holds whole strips of one shard, and `batch_size` tiles or a few more; the last one of a
    shard may hold fewer. The tiles are those of the grid, or `shifted` by so many frames.

    Raises:
        InputError: a shard is missing.
        JobError: more records are corrupt than `corrupt` allows.
    """
    require_shards(features, partitions)
    spec = features.info.feature_spec
    uris = features.shard_uris(partitions)
    for on_grid in read_columns(uris, spec.tile_shape, corrupt):
        columns = shifted(on_grid, shift, spec.hop_s * 1000)
        contexts, sessions = (
            named.take(columns.strip_of_tile) for named in (columns.contexts, columns.sessions)
        )
        audible = is_above_silence(columns.loudest.max(axis=1), spec)
        for block in blocks_of(columns.n_tiles, batch_size):
            yield TileBatch(
                columns.log_mel[block],
                columns.recordings.take(block).as_list(),
                contexts.take(block).as_list(),
                sessions.take(block).as_list(),
                columns.start_ms[block].tolist(),
                columns.labels[block].tolist(),
                audible[block],
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
