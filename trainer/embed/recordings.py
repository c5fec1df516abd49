"""Vectors of audio files: those of new and changed files are made, the others are kept."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from threadpoolctl import threadpool_limits

from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.sources import Source
from beam_features.schema.strip import NO_LABEL, channel_context
from dem import storage
from dem.access import NO_FILE
from dem.errors import InputError, JobError
from trainer.choices import EmbeddingKind
from trainer.data.audio_files import RecordingVectors, find_recordings, represent_recording
from trainer.data.vector_table import Float32, VectorTable
from trainer.embed.increments import (
    Embedded,
    embed_in_parts,
    finished,
    finished_parts,
    latest,
    merge,
)
from trainer.embed.output import INCOMPLETE, RECORDINGS_FILE, Output, arguments_of
from trainer.embed.parquet import EMBEDDED_SOURCES, table_schema, to_batch
from trainer.embed.untrained import open_encoder
from trainer.model.load import ExportedModel

_LOG = logging.getLogger(__name__)


def embed_recordings(
    model_uri: str,
    inputs: Sequence[str],
    output: str,
    *,
    encoder: EmbeddingKind = "trained",
    overwrite: bool,
    max_failure_rate: float,
    stop_if_terminated: Callable[[], None],
) -> None:
    """Embed audio files, or those below directories, into one Parquet file.

    Args:
        model_uri: of the model.
        inputs: files and directories.
        output: directory; what an earlier run embedded there is kept where the files are the same.
        encoder: see `open_encoder`.
        overwrite: whether to keep nothing of a run that has finished.
        max_failure_rate: share of the recordings that may be rejected.
        stop_if_terminated: called often; raises `Terminated` where the process has to stop.

    Raises:
        InputError: there is no such model or input, or `output` was made with other arguments.
        JobError: more recordings were rejected; the others are in the file nevertheless.
        Terminated: from `stop_if_terminated`; what was embedded before is saved.
    """
    found = find_recordings(inputs)
    for line in found.left_out:
        _LOG.info(line)
    _check_apart(output, inputs, found.recordings.values())
    model = open_encoder(model_uri, encoder)
    directory = Output(output, model_uri)
    arguments = arguments_of(model, {"input": list(inputs)})
    directory.check(arguments, overwrite=overwrite)
    listed = _list_sources(found.recordings)
    before = None if overwrite else finished(directory, arguments["model_sha256"])
    if before:
        _check_in_common(output, before, listed)
    was_complete = directory.is_complete
    directory.begin(arguments, [RECORDINGS_FILE])

    embedded = [part.current(listed) for part in finished_parts(directory)]
    if before:
        _LOG.info(_describe_changes(before, listed))
        embedded.insert(0, before.current(listed))
    embed = _Embed(model, stop_if_terminated)
    embedded += _embed_missing(directory, listed, embedded, embed)

    sources = latest(listed, embedded)
    if was_complete and before and sources == list(before.sources.values()):
        directory.end()
        _LOG.info(f"{output} is complete already, nothing to do")
    else:
        sha256 = arguments["model_sha256"]
        rows = merge(directory, sources, embedded, embed.schema, sha256, stop_if_terminated)
        rejected = {source.uri: source.rejected for source in sources if source.rejected}
        directory.finish(arguments, {RECORDINGS_FILE: rows}, rejected)
        _LOG.info(f"{RECORDINGS_FILE}: {rows} tiles of {len(sources) - len(rejected)} recordings")
    _report(sources, found.skipped, output, max_failure_rate)


@dataclass(frozen=True)
class _Embed:
    """Measures a recording and makes its rows."""

    model: ExportedModel
    stop_if_terminated: Callable[[], None]

    @property
    def schema(self) -> pa.Schema:
        return table_schema(self.model.embedding_size)

    def __call__(self, source: Source) -> tuple[Source, pa.RecordBatch | None]:
        try:
            sound = represent_recording(source.uri, self.model.spec, self._represent)
        except RejectedRecording as why:
            reason = f"{why.reason}: {why.detail}"
            _LOG.warning(f"rejected: {source.uri}: {reason}")
            return replace(source, rejected=reason), None
        measured = replace(
            source,
            seconds=sound.seconds,
            audible_share=float(sound.audible.mean()),
            samples_sha256=sound.samples_sha256,
        )
        return measured, to_batch(_table_of(source.recording, sound, self.model.spec), self.schema)

    def _represent(self, tiles: npt.NDArray[np.float16]) -> Float32:
        self.stop_if_terminated()
        return self.model.embed_tiles(tiles)


def _table_of(name: str, sound: RecordingVectors, spec: FeatureSpec) -> VectorTable:
    """Rows of a recording, channel by channel; each is a context of its own, as in features."""
    n_channels, n_tiles, size = sound.vectors.shape
    contexts = [name]
    if spec.channels == "all":
        contexts = [channel_context(name, channel) for channel in range(n_channels)]
    start_ms = [round(tile * spec.tile_s * 1000) for tile in range(n_tiles)]
    n_rows = n_channels * n_tiles
    return VectorTable(
        sound.vectors.reshape(n_rows, size),
        recording_ids=np.full(n_rows, name),
        context_ids=np.repeat(contexts, n_tiles),
        session_ids=np.full(n_rows, name),
        start_ms=np.tile(np.array(start_ms, np.int64), n_channels),
        labels=np.full(n_rows, NO_LABEL),
        audible=sound.audible.ravel(),
    )


def _list_sources(recordings: Mapping[str, str]) -> list[Source]:
    """The recordings with the current versions of their files; an empty one if a file is gone."""
    versions = storage.file_versions(recordings.values())
    files = {name: versions.get(uri, NO_FILE) for name, uri in recordings.items()}
    return [
        Source(name, recordings[name], file.bytes, file.modified_s, file.version)
        for name, file in files.items()
    ]


def _check_apart(output: str, inputs: Sequence[str], uris: Iterable[str]) -> None:
    """Refuse an output among the user's audio files, or audio files where ours are deleted."""
    homes = {uri.rpartition("/")[0] or "." for uri in uris}
    for directory in (*filter(storage.is_directory, inputs), *sorted(homes)):
        if storage.is_within(directory, storage.join(output, INCOMPLETE)):
            raise InputError(f"{directory!r} is deleted after the run; choose another --output")
        is_theirs = directory in inputs or storage.is_within(directory, output)
        if is_theirs and storage.is_within(output, directory):
            raise InputError(
                f"--output {output!r} is inside {directory!r}: the vectors would lie among the "
                "audio files; choose another --output"
            )


def _check_in_common(output: str, before: Embedded, listed: Sequence[Source]) -> None:
    """Raise an InputError where nothing would be kept: the inputs or the output are mistaken."""
    there, asked = (
        {(source.recording, source.uri) for source in sources}
        for sources in (before.sources.values(), listed)
    )
    if there and not there & asked:
        raise InputError(
            f"{output} holds vectors of {len(there)} recordings such as {min(there)[0]!r}, none of "
            f"which is among the {len(asked)} of --input, such as {min(asked)[0]!r}; "
            "choose another --output, or replace it with --overwrite"
        )


def _describe_changes(before: Embedded, listed: Sequence[Source]) -> str:
    """Say how the recordings differ from those of the earlier run."""
    same = before.current(listed)
    names = {source.recording for source in listed}
    known = before.sources.keys()
    counts = {
        "new": len(names - known),
        "changed": len(names & known) - len(same.sources),
        "kept": len(same.used),
        "gone": len(known - names),
    }
    again = len(same.sources) - len(same.used)
    line = ", ".join(f"{count} {what}" for what, count in counts.items())
    return f"{line}, {again} rejected before and tried again" if again else line


def _embed_missing(
    directory: Output, listed: Sequence[Source], embedded: Sequence[Embedded], embed: _Embed
) -> list[Embedded]:
    """Embed the recordings of which there are no rows; log the progress."""
    there = {name for part in embedded for name in part.used}
    todo = [source for source in listed if source.recording not in there]
    resumed = sum(len(part.used) for part in embedded if part.is_part)
    if resumed:
        _LOG.info(f"{resumed} recordings were embedded by a run that was stopped")
    parts, n_done = [], 0
    with threadpool_limits(1, "blas"):  # for products as small as the mel filters', 2 take longer
        for part in embed_in_parts(directory, todo, embed, embed.schema):
            parts.append(part)
            n_done += len(part.sources)
            if n_done < len(todo):
                _LOG.info(f"{n_done} of {len(todo)} recordings")
    return parts


def _report(
    sources: Sequence[Source],
    skipped: Mapping[str, tuple[str, str]],
    output: str,
    max_failure_rate: float,
) -> None:
    """Say how many recordings were not used, by reason."""
    if skipped:
        _LOG.info(f"skipped: {_count(reason for reason, _ in skipped.values())}")
    rejected = [source.rejected for source in sources if source.rejected]
    if not rejected:
        return
    _LOG.warning(f"rejected: {_count(reason.partition(':')[0] for reason in rejected)}")
    rate = len(rejected) / len(sources)
    if rate > max_failure_rate:
        raise JobError(
            f"{len(rejected)} of {len(sources)} recordings ({rate:.1%}) were rejected, more than "
            f"--max-failure-rate {max_failure_rate}; the others are in {output}, the reasons in "
            f"{storage.join(output, EMBEDDED_SOURCES)}; the same command tries again"
        )


def _count(reasons: Iterable[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(reasons).items()))
