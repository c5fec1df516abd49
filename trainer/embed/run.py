"""The embedding command: a model and tiles in, a directory of Parquet files out, its marker last.

While a run is under way ``OUTPUT/_incomplete.json`` holds the names of its files; `EMBEDDINGS_INFO`
takes its place when all are there. Readers of Parquet directories skip names with an underscore in
front.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from beam_features.schema.strip import NO_LABEL
from dem import storage
from dem.errors import InputError, JobError
from dem.settings import describe_differences
from trainer.data.checks import check_fingerprint
from trainer.data.features import Features, open_features
from trainer.data.recordings import UnreadableRecording, find_recordings, read_waveform
from trainer.data.tiles import tile_batches
from trainer.embed.parquet import Batches, to_rows, write_table
from trainer.model.load import ExportedModel, model_sha256, open_model

_LOG = logging.getLogger(__name__)

EMBEDDINGS_INFO = "_embeddings_info.json"
RECORDINGS_FILE = "recordings.parquet"  # where there are no partitions
_INCOMPLETE = "_incomplete.json"


def embed_features(
    model_uri: str, data: str, partitions: Sequence[str] | None, output: str, *, overwrite: bool
) -> None:
    """Embed every tile of the partitions, by default of all: a Parquet file for each.

    Raises:
        InputError: there is no such model, data or partition; the model is for features of another
            fingerprint; or `output` was made with other arguments.
    """
    model = open_model(model_uri)
    features = open_features(data)
    check_fingerprint(model.spec.fingerprint, features)
    names = list(partitions or features.info.partitions)
    features.shard_uris(names)  # raises where there is no such one
    source = {
        "data": features.uri,
        "content_sha256": features.info.content_sha256,
        "partitions": names,
    }
    if not _is_complete(output, _arguments(model, source), overwrite=overwrite):
        tables = {f"{name}.parquet": _tiles_of(model, features, name) for name in names}
        _write_all(output, model, source, tables, failed={})


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
    if _is_complete(output, _arguments(model, source), overwrite=overwrite):
        return
    failed: dict[str, str] = {}  # why, by URI; filled while the table is written
    tables = {RECORDINGS_FILE: _tiles_of_recordings(model, recordings, failed)}
    _write_all(output, model, source, tables, failed)
    if failed:
        raise JobError(
            f"{len(failed)} of {len(recordings)} recordings could not be embedded, the others are "
            f"in {output}; the same command tries again"
        )


def _arguments(model: ExportedModel, source: dict[str, Any]) -> dict[str, Any]:
    """All that the content of the output follows from."""
    return {
        "model_sha256": model_sha256(model.uri),
        "fingerprint": model.spec.fingerprint,
        "embedding_size": model.embedding_size,
        "source": source,
    }


def _is_complete(output: str, arguments: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether the output is there already; refuse to mix the results of different arguments.

    An output in which recordings failed is not complete: they may have been mended.
    """
    done = storage.join(output, EMBEDDINGS_INFO)
    if overwrite or not storage.exists(done):
        return False
    there = json.loads(storage.read_text(done))
    if different := describe_differences(there["arguments"], arguments):
        raise InputError(
            f"{output} was made with other arguments: {different}; "
            "choose another --output, or replace it with --overwrite"
        )
    if not there["failed"]:
        _LOG.info(f"{output} is complete already, nothing to do")
    return not there["failed"]


def _write_all(
    output: str,
    model: ExportedModel,
    source: dict[str, Any],
    tables: Mapping[str, Batches],
    failed: Mapping[str, str],
) -> None:
    """Write the tables, then the marker."""
    started = storage.join(output, _INCOMPLETE)
    _clear(output)
    storage.write_text(started, json.dumps({"files": list(tables)}))
    rows = {}
    for name, batches in tables.items():
        rows[name] = write_table(storage.join(output, name), model.embedding_size, batches)
        _LOG.info(f"{name}: {rows[name]} tiles")
    info = {"arguments": _arguments(model, source), "files": rows, "failed": failed}
    storage.write_text(storage.join(output, EMBEDDINGS_INFO), json.dumps(info, indent=2) + "\n")
    storage.delete(started)


def _clear(output: str) -> None:
    """Delete what earlier runs left, and nothing else; the mark of completeness goes first."""
    ours: set[str] = set()
    for marker in (EMBEDDINGS_INFO, _INCOMPLETE):
        uri = storage.join(output, marker)
        if storage.exists(uri):
            ours |= set(json.loads(storage.read_text(uri))["files"])
    foreign = sorted(set(storage.list_names(output, ".parquet")) - ours)
    if foreign:
        raise InputError(
            f"{output} holds {foreign[0]!r}, which no run of this command has left; "
            "choose another --output"
        )
    for name in (EMBEDDINGS_INFO, *sorted(ours)):
        storage.delete(storage.join(output, name))


def _tiles_of(model: ExportedModel, features: Features, partition: str) -> Batches:
    """Embed a partition, batch by batch."""
    names = features.info.label_names
    for batch in tile_batches(features, [partition]):
        labels = [None if label == NO_LABEL else names[label] for label in batch.labels]
        vectors = model.embed_tiles(batch.log_mel)
        start_s = np.array(batch.start_ms) / 1000
        yield to_rows(batch.recording_ids, start_s, partition, labels, vectors)


def _tiles_of_recordings(
    model: ExportedModel, recordings: Mapping[str, str], failed: dict[str, str]
) -> Batches:
    """Embed each recording; those that cannot be go into `failed`, and to stderr at once."""
    for name, uri in recordings.items():
        try:
            waveform = read_waveform(uri, model.spec)
        except UnreadableRecording as why:
            failed[uri] = str(why)
            _LOG.warning(f"failed: {uri}: {why}")
            continue
        vectors, start_s = model.embed_waveform(waveform)
        whole_ms = start_s.astype(np.float64).round(3)  # as in the records
        yield to_rows([name] * len(vectors), whole_ms, None, [None] * len(vectors), vectors)
