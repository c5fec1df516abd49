"""Vectors that a job keeps, so that each tile is embedded once for all later stages.

``JOB/vectors/<encoder>/<partition>.parquet`` is made when missing. Its metadata holds the digests
of the encoder and of the data that it was made from.
"""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from dem import storage
from dem.errors import InputError
from trainer.choices import STATISTICS_KINDS, StatisticsKind
from trainer.config import ResolvedConfig
from trainer.data.checks import require_shards
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import tile_batches
from trainer.data.vector_table import VectorTable
from trainer.embed.parquet import (
    NO_COLUMNS,
    FurtherColumns,
    open_parquet,
    read_about,
    read_rows,
    write_rows,
)
from trainer.model.encoders import build_encoder
from trainer.model.files import load_keras
from trainer.model.load import model_sha256
from trainer.model.modulation import modulation_statistics
from trainer.model.vectors import Representation, as_representation, log_mel_statistics
from trainer.runtime.job_dir import ENCODER, VECTORS, read_job_config

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Encoder:
    """What turns tiles into vectors.

    Attributes:
        kind: name of its directory of vectors, such as ``trained``.
        model: from tiles to vectors.
        sha256: digest of the model.
        is_fixed: whether a job has only one, so that vectors of another one are an error.
    """

    kind: str
    model: keras.Model
    sha256: str
    is_fixed: bool = False


def trained_encoder(job_dir: str) -> Encoder:
    """Load the encoder of a finished training.

    Raises:
        InputError: the training has not finished.
    """
    uri = storage.join(job_dir, ENCODER)
    if not storage.exists(uri):
        raise InputError(
            f"{uri} does not exist: the training of {job_dir} has not finished; finish it with "
            "python -m trainer.train"
        )
    return Encoder("trained", load_keras(uri), model_sha256(uri), is_fixed=True)


def built_encoder(kind: str, model: keras.Model, settings: Mapping[str, Any]) -> Encoder:
    """Wrap a model that was built in this process from `settings`, which JSON can hold."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for weights in model.get_weights():
        digest.update(weights.tobytes())
    return Encoder(kind, model, digest.hexdigest())


def statistics_encoder(kind: StatisticsKind, spec: FeatureSpec) -> Encoder:
    """The baselines without learning: see `log_mel_statistics` and `modulation_statistics`."""
    shape, hop_s = spec.tile_shape, spec.hop_s
    if kind == "none":
        return built_encoder(kind, log_mel_statistics(shape), {"tile_shape": shape})
    settings = {"tile_shape": shape, "hop_s": hop_s}
    return built_encoder(kind, modulation_statistics(shape, hop_s), settings)


def untrained_encoder(spec: FeatureSpec, job: ResolvedConfig, moments: Moments) -> Encoder:
    """The baseline ``random``: the encoder of a job as it was before the first step.

    Args:
        spec: of the features that it takes.
        job: settings of the training.
        moments: that normalise its input, those of the training's tiles.
    """
    model = build_encoder(job.architecture, spec.tile_shape, job.embedding_size, moments, job.seed)
    return built_encoder("random", model, encoder_settings(job, moments))


def encoders_of(job_dir: str, features: Features) -> list[Encoder]:
    """The encoder of a finished training and those it is compared with: the others without labels.

    Raises:
        InputError: see `trained_encoder`.
    """
    spec, job = features.info.feature_spec, read_job_config(job_dir)
    return [
        trained_encoder(job_dir),
        untrained_encoder(spec, job, features.info.moments(job.train_partitions)),
        *(statistics_encoder(kind, spec) for kind in STATISTICS_KINDS),
    ]


def encoder_settings(job: ResolvedConfig, moments: Moments) -> dict[str, Any]:
    """What determines an encoder that is built in this process, beside its weights."""
    return dataclasses.asdict(job.architecture) | dataclasses.asdict(moments)


def stored_vectors(
    encoder: Encoder,
    features: Features,
    partitions: Sequence[str],
    home: str,
    corrupt: CorruptRecords,
    *,
    most_tiles: int | None = None,
    shift: int = 0,
) -> VectorTable:
    """Vectors of all tiles of the partitions, in the order of the shards.

    Args:
        encoder: makes what is missing.
        features: where the tiles are.
        partitions: names.
        home: directory that has or gets ``vectors/``, such as a job directory.
        corrupt: records that are skipped.
        most_tiles: of all partitions together; each gives the same share of its tiles, its first
            ones. Shards hold their contexts in the order of a hash, so these are a fair sample.
        shift: frames by which the tiles are `shifted`; they have files of their own.

    Raises:
        InputError: a shard is missing, or the vectors are those of another encoder of the job.
        JobError: more records are corrupt than `corrupt` allows.
    """
    require_shards(features, partitions)
    represent = as_representation(encoder.model)
    tables = [VectorTable.empty(encoder.model.output_shape[1])]
    tiles = {name: features.info.partitions[name].tiles for name in partitions}
    for name in partitions:
        file = f"{name}.parquet" if shift == 0 else f"{name}+{shift}.parquet"
        uri = storage.join(home, VECTORS, encoder.kind, file)
        batches = _batches(encoder, represent, features, name, uri, corrupt, shift)
        total = sum(tiles.values())
        if most_tiles is None or total <= most_tiles:
            tables += batches
        else:
            tables += _first(batches, most_tiles * tiles[name] // total)
    return VectorTable.concatenate(tables)


def _first(batches: Iterator[VectorTable], rows: int) -> Iterator[VectorTable]:
    for batch in batches:
        yield batch.select(np.arange(min(rows, len(batch.labels))))
        rows -= len(batch.labels)
        if rows <= 0:
            return


def embed_tiles(
    represent: Representation,
    features: Features,
    partition: str,
    corrupt: CorruptRecords,
    shift: int = 0,
) -> Iterator[VectorTable]:
    """Embed all tiles of a partition, or those `shifted` by so many frames, batch by batch."""
    for batch in tile_batches(features, [partition], corrupt, shift=shift):
        yield VectorTable(
            represent(batch.log_mel),
            np.array(batch.recording_ids, np.str_),
            np.array(batch.context_ids, np.str_),
            np.array(batch.session_ids, np.str_),
            np.array(batch.start_ms, np.int64),
            np.array(batch.labels, np.int64),
            batch.audible,
        )


def _batches(
    encoder: Encoder,
    represent: Representation,
    features: Features,
    partition: str,
    uri: str,
    corrupt: CorruptRecords,
    shift: int,
) -> Iterator[VectorTable]:
    """Read a partition's vectors, or embed and write them.

    All rows are read from one open file, so a process may replace it at the same time.
    """
    made_from = {"model_sha256": encoder.sha256, "data_sha256": features.digest(partition)}
    if storage.exists(uri):
        with open_parquet(uri) as file:
            about = read_about(file)
            if _is_current(about, made_from, encoder, uri):
                corrupt.recall(features.shard_uris([partition]), about["corrupt"])
                yield from read_rows(file, features.info.label_names)
                return
    size = encoder.model.output_shape[1]
    rows = embed_tiles(represent, features, partition, corrupt, shift)
    yield from write_partition(uri, size, rows, features, partition, made_from, corrupt)


def write_partition(
    uri: str,
    embedding_size: int,
    rows: Iterator[VectorTable],
    features: Features,
    partition: str,
    made_from: Mapping[str, str],
    corrupt: CorruptRecords,
    further: FurtherColumns = NO_COLUMNS,
) -> Iterator[VectorTable]:
    """Write the vectors of a partition's tiles; `made_from` identifies what they are of."""
    shards = features.shard_uris([partition])

    def describe() -> dict[str, Any]:
        return {**made_from, "corrupt": corrupt.places(shards)}

    labels = features.info.label_names
    yield from write_rows(uri, embedding_size, rows, partition, labels, describe, further)


def _is_current(
    about: Mapping[str, Any], made_from: Mapping[str, str], encoder: Encoder, uri: str
) -> bool:
    """Whether a file was made from this encoder and these data.

    Raises:
        InputError: another encoder made it, and the job has only one.
    """
    different = [key for key, value in made_from.items() if about.get(key) != value]
    if encoder.is_fixed and "model_sha256" in different:
        directory = uri.rpartition("/")[0]
        raise InputError(
            f"{uri} was made by an encoder of sha256 {str(about.get('model_sha256'))[:12]}, but "
            f"that of the job has {encoder.sha256[:12]}; delete {directory} to embed again"
        )
    if different:
        _LOG.info(f"{uri} was made from another {different[0].partition('_')[0]}: embedding again")
    return not different
