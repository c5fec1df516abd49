"""Vectors of audio files, kept from run to run: by this output, and by parts of a stopped run.

A run writes a part each minute, so a killed one loses no more than that. A part is two files: rows,
and then `beam_features.schema.sources`. The digest of its sources stands in the metadata of the
finished file, since two files cannot be replaced at once.
"""

import collections
import contextlib
import hashlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from beam_features.schema.sources import SOURCES, Source, read_sources, write_sources
from dem import storage
from dem.errors import Terminated
from trainer.embed.output import INCOMPLETE, RECORDINGS_FILE, Output
from trainer.embed.parquet import (
    EMBEDDED_SOURCES,
    RecordingRows,
    local_parquet,
    new_parquet,
    summary_of,
)

_PART_S = 60.0
_PART, _SOURCES_OF = "part-", "sources-"  # how the names of its two files begin

Embed = Callable[[Source], tuple[Source, pa.RecordBatch | None]]
"""Measures a recording, and embeds it unless it is rejected."""


@dataclass(frozen=True)
class Embedded:
    """Recordings that were embedded, or rejected, and the file with their rows."""

    uri: str
    sources: Mapping[str, Source]
    is_part: bool = True

    @property
    def used(self) -> set[str]:
        """Names of the recordings that were not rejected."""
        return {name for name, source in self.sources.items() if not source.rejected}

    def current(self, listed: Iterable[Source]) -> "Embedded":
        """Without the recordings that are not listed, or have changed since."""
        versions = {source.recording: _version(source) for source in listed}
        same = {
            name: source
            for name, source in self.sources.items()
            if versions.get(name) == _version(source)
        }
        return replace(self, sources=same)


def _version(source: Source) -> tuple[str, str]:
    return source.uri, source.version


def finished(output: Output, model_sha256: str) -> Embedded | None:
    """What an earlier run has finished; None if it has not, or with another model."""
    uri = output.at(RECORDINGS_FILE)
    summary = summary_of(uri)
    if summary is None or summary.about.get("model_sha256") != model_sha256:
        return None
    for table in (output.at(EMBEDDED_SOURCES), output.at(INCOMPLETE, SOURCES)):
        if storage.exists(table) and _sha256(table) == summary.about["sources_sha256"]:
            return Embedded(uri, _by_name(read_sources(table)), is_part=False)
    return None


def finished_parts(output: Output) -> list[Embedded]:
    """What a stopped run has embedded; of the same model, see `Output.begin`."""
    return [
        Embedded(
            output.at(INCOMPLETE, _PART + name),
            _by_name(read_sources(output.at(INCOMPLETE, _SOURCES_OF + name))),
        )
        for name in _part_names(output)
    ]


def embed_in_parts(
    output: Output, todo: Iterable[Source], embed: Embed, schema: pa.Schema
) -> Iterator[Embedded]:
    """Embed recordings and yield each part once it is written.

    Raises:
        Terminated: from `embed`; what was embedded before is written.
    """
    remaining = collections.deque(todo)
    first = max((int(name.partition(".")[0]) + 1 for name in _part_names(output)), default=0)
    for number in itertools.count(first):
        if not remaining:
            return
        yield _embed_part(output, f"{number:05d}.parquet", remaining, embed, schema)


def _embed_part(
    output: Output,
    name: str,
    remaining: collections.deque[Source],
    embed: Embed,
    schema: pa.Schema,
) -> Embedded:
    """Take recordings from `remaining` for a minute."""
    uri = output.at(INCOMPLETE, _PART + name)
    end = time.monotonic() + _PART_S
    done: list[Source] = []
    with new_parquet(uri, schema) as writer:
        try:
            while remaining and not (done and time.monotonic() > end):
                measured, rows = embed(remaining[0])
                if rows is not None:
                    writer.add(rows)
                done.append(measured)
                remaining.popleft()
        except Terminated:  # the next part raises it again
            if not done:
                raise
    write_sources(output.at(INCOMPLETE, _SOURCES_OF + name), done)
    return Embedded(uri, _by_name(done))


def latest(listed: Iterable[Source], embedded: Iterable[Embedded]) -> list[Source]:
    """What was measured of each listed recording; the last one counts."""
    known: dict[str, Source] = {}
    for part in embedded:
        known |= part.sources
    return [known[source.recording] for source in listed]


def merge(
    output: Output,
    sources: Sequence[Source],
    embedded: Sequence[Embedded],
    schema: pa.Schema,
    model_sha256: str,
    stop_if_terminated: Callable[[], None],
) -> int:
    """Write the rows of recordings, and their sources, in their order.

    Args:
        output: where to.
        sources: from `latest`.
        embedded: where the rows are.
        schema: of the rows.
        model_sha256: of the model that made them.
        stop_if_terminated: called at each recording.

    Returns:
        Number of rows.
    """
    table = output.at(INCOMPLETE, SOURCES)
    write_sources(table, sources)
    with contextlib.ExitStack() as stack:
        files = [(stack.enter_context(local_parquet(part.uri)), part.used) for part in embedded]
        rows = RecordingRows(files)
        writer = stack.enter_context(new_parquet(output.at(RECORDINGS_FILE), schema))
        for source in sources:
            stop_if_terminated()
            if not source.rejected:
                writer.add(rows.of(source.recording))
        writer.describe({"model_sha256": model_sha256, "sources_sha256": _sha256(table)})
        output.replace()
    storage.rename(table, output.at(EMBEDDED_SOURCES))
    return writer.rows


def _part_names(output: Output) -> list[str]:
    """What the names of the two files of each finished part end with."""
    names = storage.list_names(output.at(INCOMPLETE))
    ends = [name.removeprefix(_SOURCES_OF) for name in names if name.startswith(_SOURCES_OF)]
    return [name for name in ends if _PART + name in names]


def _by_name(sources: Iterable[Source]) -> dict[str, Source]:
    return {source.recording: source for source in sources}


def _sha256(uri: str) -> str:
    return hashlib.sha256(storage.read_bytes(uri)).hexdigest()
