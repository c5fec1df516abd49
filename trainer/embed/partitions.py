"""Vectors of features: a Parquet file per partition, made anew where the features have changed."""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from beam_features.schema.sources import SOURCES, Source, read_sources, write_sources
from dem import storage
from trainer.choices import EmbeddingKind
from trainer.config import TrainConfig
from trainer.data.checks import check_fingerprint, require_shards
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.data.vector_table import VectorTable
from trainer.embed.output import Output, arguments_of
from trainer.embed.parquet import (
    EMBEDDED_SOURCES,
    FIXED_COLUMNS,
    FurtherColumns,
    open_parquet,
    summary_of,
)
from trainer.embed.stored import embed_tiles, write_partition
from trainer.embed.untrained import open_encoder
from trainer.runtime.job_dir import CONFIG, read_job_config

_LOG = logging.getLogger(__name__)


def embed_features(
    model_uri: str,
    data: str,
    partitions: Sequence[str] | None,
    output: str,
    *,
    encoder: EmbeddingKind = "trained",
    overwrite: bool,
    stop_if_terminated: Callable[[], None],
) -> None:
    """Embed every tile of the partitions, by default of all: a Parquet file for each.

    `encoder` is the kind of `open_encoder`. Corrupt records are skipped up to the number that the
    training of the model tolerates; where only a model is given, up to the training's default.

    Raises:
        InputError: there is no such model, data or partition; the model is for features of another
            fingerprint; or `output` was made with other arguments.
        JobError: too many records are corrupt.
        Terminated: from `stop_if_terminated`; finished partitions are kept.
    """
    model = open_encoder(model_uri, encoder)
    features = open_features(data)
    check_fingerprint(model.spec.fingerprint, features)
    names = list(partitions or features.info.partitions)
    require_shards(features, names)
    source = {"data": features.uri, "content_sha256": features.info.content_sha256}
    chosen = {"partitions": names} if partitions else {}
    arguments = arguments_of(model, source | chosen)
    directory = Output(output, model_uri)
    directory.check(arguments, overwrite=overwrite)
    files = [f"{name}.parquet" for name in names]
    sources = _read_sources(features)
    further = further_columns(sources)
    made_from = {name: _made_from(arguments, features, name, further) for name in names}
    corrupt = _tolerated_records(model_uri)
    rows = {} if overwrite else _kept_rows(directory, features, made_from, corrupt)  # by file
    if set(rows) == set(files) == directory.complete_files:
        _LOG.info(f"{output} is complete already, nothing to do")
        return
    directory.begin(arguments, files)
    directory.replace()
    for name, file in zip(names, files, strict=True):
        if file in rows:
            _LOG.info(f"{file}: {rows[file]} tiles, kept")
            continue
        tables = write_partition(
            directory.at(file),
            model.embedding_size,
            embed_tiles(model.embed_tiles, features, name, corrupt),
            features,
            name,
            made_from[name],
            corrupt,
            further,
        )
        rows[file] = _count_rows(tables, stop_if_terminated)
        _LOG.info(f"{file}: {rows[file]} tiles")
    _write_sources(directory, files if partitions else None, sources)
    directory.finish(arguments, rows, rejected={})
    corrupt.log_skipped()


def _count_rows(tables: Iterable[VectorTable], stop_if_terminated: Callable[[], None]) -> int:
    """Write all tables, which reading them does; return the number of their rows."""
    rows = 0
    for table in tables:
        stop_if_terminated()
        rows += len(table.labels)
    return rows


def further_columns(sources: Sequence[Source]) -> FurtherColumns:
    """Further columns of the dataset's table; one that is named like a fixed column is left out."""
    names = dict.fromkeys(name for source in sources for name, _ in source.columns)
    for name in names:
        if name in FIXED_COLUMNS:
            _LOG.warning(f"the column {name!r} of the dataset is left out: vectors have their own")
    cells = {source.recording: dict(source.columns) for source in sources}
    return FurtherColumns(tuple(name for name in names if name not in FIXED_COLUMNS), cells)


def _read_sources(features: Features) -> list[Source]:
    """What the features were made from; nothing where an earlier version made them."""
    uri = storage.join(features.uri, SOURCES)
    return read_sources(uri) if storage.exists(uri) else []


def _made_from(
    arguments: Mapping[str, Any], features: Features, partition: str, further: FurtherColumns
) -> dict[str, str]:
    """What determines the file of a partition."""
    columns = json.dumps([further.names, further.by_recording]) if further.names else ""
    return {
        "model_sha256": arguments["model_sha256"],
        "data_sha256": features.digest(partition),
        "columns_sha256": hashlib.sha256(columns.encode()).hexdigest(),
    }


def _kept_rows(
    directory: Output,
    features: Features,
    made_from: Mapping[str, Mapping[str, str]],
    corrupt: CorruptRecords,
) -> dict[str, int]:
    """Number of rows of each file that need not be made again."""
    rows = {}
    for name, wanted in made_from.items():
        summary = summary_of(directory.at(f"{name}.parquet"))
        if summary and wanted.items() <= summary.about.items():
            corrupt.recall(features.shard_uris([name]), summary.about["corrupt"])
            rows[f"{name}.parquet"] = summary.rows
    return rows


def _write_sources(
    directory: Output, files: Sequence[str] | None, sources: Sequence[Source]
) -> None:
    """Write the sources of the recordings in some files; None: in all."""
    if not sources:
        storage.delete(directory.at(EMBEDDED_SOURCES))
        return
    if files is not None:
        there: set[str] = set()
        for name in files:
            with open_parquet(directory.at(name)) as file:
                there |= set(file.read(["recording"])["recording"].unique().to_pylist())
        sources = [source for source in sources if source.recording in there]
    write_sources(directory.at(EMBEDDED_SOURCES), sources)


def _tolerated_records(model_uri: str) -> CorruptRecords:
    if storage.exists(storage.join(model_uri, CONFIG)):
        budget = read_job_config(model_uri).corrupt_records_budget
        return CorruptRecords(budget, f"the training of {model_uri}")
    return CorruptRecords(TrainConfig().corrupt_records_budget, "this command")
