"""The embedding command: a model and tiles in, a directory of Parquet files out, its marker last.

While a run is in progress ``OUTPUT/_incomplete.json`` lists its files; `EMBEDDINGS_INFO` replaces
it when all are written. Readers of Parquet directories skip names that start with an underscore.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from beam_features.schema.strip import NO_LABEL
from dem import storage
from dem.errors import InputError, JobError
from dem.settings import describe_differences
from trainer.config import TrainConfig
from trainer.data.audio_files import UnreadableRecording, find_recordings, read_waveform
from trainer.data.checks import check_fingerprint
from trainer.data.features import open_features
from trainer.data.shards import CorruptRecords
from trainer.data.vector_table import VectorTable
from trainer.embed.parquet import write_rows
from trainer.embed.stored import embed_tiles
from trainer.model.load import ExportedModel, model_sha256, open_model
from trainer.runtime.job_dir import CONFIG, read_job_config

_LOG = logging.getLogger(__name__)

EMBEDDINGS_INFO = "_embeddings_info.json"
RECORDINGS_FILE = "recordings.parquet"  # of audio files, which have no partitions
_INCOMPLETE = "_incomplete.json"


def embed_features(
    model_uri: str, data: str, partitions: Sequence[str] | None, output: str, *, overwrite: bool
) -> None:
    """Embed every tile of the partitions, by default of all: a Parquet file for each.

    Corrupt records are skipped up to the number that the training of the model tolerates; where
    only a model is given, up to the training's default.

    Raises:
        InputError: there is no such model, data or partition; the model is for features of another
            fingerprint; or `output` was made with other arguments.
        JobError: too many records are corrupt.
    """
    model = open_model(model_uri)
    features = open_features(data)
    check_fingerprint(model.spec.fingerprint, features)
    names = list(partitions or features.info.partitions)
    features.shard_uris(names)  # raises if a partition does not exist
    source = {
        "data": features.uri,
        "content_sha256": features.info.content_sha256,
        "partitions": names,
    }
    arguments = _arguments(model, source)
    if _is_complete(output, arguments, overwrite=overwrite):
        return
    corrupt = _tolerated_records(model_uri)
    labels = features.info.label_names
    tables = {
        f"{name}.parquet": write_rows(
            storage.join(output, f"{name}.parquet"),
            model.embedding_size,
            embed_tiles(model.embed_tiles, features, name, corrupt),
            name,
            labels,
        )
        for name in names
    }
    _write_all(output, arguments, tables, failed={})
    corrupt.log_skipped()


def embed_recordings(
    model_uri: str, inputs: Sequence[str], output: str, *, overwrite: bool
) -> None:
    """Embed audio files, or those below directories, into one Parquet file.

    Raises:
        InputError: there is no such model or input, or `output` was made with other arguments.
        JobError: recordings could not be embedded; the others are in the file nevertheless.
    """
    model = open_model(model_uri)
    recordings = find_recordings(inputs)
    source = {"input": list(inputs), "recordings": sorted(recordings)}
    arguments = _arguments(model, source)
    if _is_complete(output, arguments, overwrite=overwrite):
        return
    failed: dict[str, str] = {}  # reasons by URI; filled while the table is written
    rows = _embed_recordings(model, recordings, failed)
    uri = storage.join(output, RECORDINGS_FILE)
    table = write_rows(uri, model.embedding_size, rows, None, ())
    _write_all(output, arguments, {RECORDINGS_FILE: table}, failed)
    if failed:
        raise JobError(
            f"{len(failed)} of {len(recordings)} recordings could not be embedded, the others are "
            f"in {output}; the same command tries again"
        )


def _tolerated_records(model_uri: str) -> CorruptRecords:
    if storage.exists(storage.join(model_uri, CONFIG)):
        budget = read_job_config(model_uri).corrupt_records_budget
        return CorruptRecords(budget, f"the training of {model_uri}")
    return CorruptRecords(TrainConfig().corrupt_records_budget, "this command")


def _arguments(model: ExportedModel, source: dict[str, Any]) -> dict[str, Any]:
    """Everything that determines the content of the output."""
    return {
        "model_sha256": model_sha256(model.uri),
        "fingerprint": model.spec.fingerprint,
        "embedding_size": model.embedding_size,
        "source": source,
    }


def _is_complete(output: str, arguments: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether the output is there already; refuse to mix the results of different arguments.

    An output in which recordings failed is not complete: they may have been repaired.
    """
    done = storage.join(output, EMBEDDINGS_INFO)
    if overwrite or not storage.exists(done):
        return False
    stored = json.loads(storage.read_text(done))
    if different := describe_differences(stored["arguments"], arguments):
        raise InputError(
            f"{output} was made with other arguments: {different}; "
            "choose another --output, or replace it with --overwrite"
        )
    if not stored["failed"]:
        _LOG.info(f"{output} is complete already, nothing to do")
    return not stored["failed"]


def _write_all(
    output: str,
    arguments: Mapping[str, Any],
    tables: Mapping[str, Iterator[VectorTable]],
    failed: Mapping[str, str],
) -> None:
    """Write the tables by consuming them, then the marker."""
    started = storage.join(output, _INCOMPLETE)
    _clear(output)
    storage.write_text(started, json.dumps({"files": list(tables)}))
    rows = {}
    for name, table in tables.items():
        rows[name] = sum(len(batch.labels) for batch in table)
        _LOG.info(f"{name}: {rows[name]} tiles")
    info = {"arguments": arguments, "files": rows, "failed": failed}
    storage.write_text(storage.join(output, EMBEDDINGS_INFO), json.dumps(info, indent=2) + "\n")
    storage.delete(started)


def _clear(output: str) -> None:
    """Delete the files of earlier runs and no others, the marker of completeness first."""
    ours: set[str] = set()
    for marker in (EMBEDDINGS_INFO, _INCOMPLETE):
        uri = storage.join(output, marker)
        if storage.exists(uri):
            ours |= set(json.loads(storage.read_text(uri))["files"])
    foreign = sorted(set(storage.list_names(output, ".parquet")) - ours)
    if foreign:
        raise InputError(
            f"{output} holds {foreign[0]!r}, which this command did not write; "
            "choose another --output"
        )
    for name in (EMBEDDINGS_INFO, *sorted(ours)):
        storage.delete(storage.join(output, name))


def _embed_recordings(
    model: ExportedModel, recordings: Mapping[str, str], failed: dict[str, str]
) -> Iterator[VectorTable]:
    """Embed each recording; report those that fail at once, and add them to `failed`."""
    for name, uri in recordings.items():
        try:
            waveform = read_waveform(uri, model.spec)
        except UnreadableRecording as why:
            failed[uri] = str(why)
            _LOG.warning(f"failed: {uri}: {why}")
            continue
        vectors, start_s = model.embed_waveform(waveform)
        n_tiles = len(vectors)
        ids = np.full(n_tiles, name)
        yield VectorTable(
            vectors,
            recording_ids=ids,
            context_ids=ids,
            session_ids=ids,
            start_ms=np.rint(start_s.astype(np.float64) * 1000).astype(np.int64),
            labels=np.full(n_tiles, NO_LABEL),
            audible=np.ones(n_tiles, np.bool_),  # not measured; the file has null
        )
