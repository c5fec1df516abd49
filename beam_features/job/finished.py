"""What was made: a shard, the versions of the files in it, and what came of each.

Workers write one file of it per shard to ``OUTPUT/incomplete/``; a complete directory holds all of
them as the lines of ``shards.jsonl``. Later runs compare them with the listing.
"""

import dataclasses
import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from pydantic import TypeAdapter

from beam_features.job.plan import Shard, Unit, group_into_units
from beam_features.job.shard_writer import ShardSummary
from beam_features.recording import Outcome, Recording
from beam_features.schema.sources import Source
from dem import storage
from dem.access import NO_FILE, FileVersion


@dataclass(frozen=True)
class FinishedShard:
    """A shard that was made.

    Attributes:
        shard: its name, and the recordings that went into it.
        versions: of their files, by URI, as they were listed; without those that were missing.
        summary: what it holds.
    """

    shard: Shard
    versions: Mapping[str, FileVersion]
    summary: ShardSummary

    def dump(self) -> str:
        """Serialise to one line of JSON, in ASCII because file names may be invalid UTF-8.

        Raises:
            ValueError: a number is NaN or infinite.
        """
        return json.dumps(dataclasses.asdict(self), sort_keys=True, allow_nan=False)

    @classmethod
    def parse(cls, line: str | bytes) -> "FinishedShard":
        """Parse what `dump` returned.

        Raises:
            ValueError: it is something else, cut off, or of another version.
        """
        return _adapter().validate_python(json.loads(line, parse_constant=_refuse))

    @classmethod
    def parse_if_sound(cls, line: str | bytes) -> "FinishedShard | None":
        """Parse what `dump` returned; a summary that cannot be read counts as not written."""
        try:
            return cls.parse(line)
        except ValueError:
            return None

    @property
    def is_listed(self) -> bool:
        """Whether the directory has a file of it: an update adds none without tiles."""
        return self.shard.update == 0 or self.summary.strips > 0

    @cached_property
    def outcomes(self) -> dict[str, Outcome]:
        """What came of each recording, by its id."""
        return {outcome.recording_id: outcome for outcome in self.summary.outcomes}

    @property
    def units(self) -> list[Unit]:
        """Its contexts by what must stay together."""
        return group_into_units(self.shard.contexts)

    @property
    def recordings(self) -> Iterator[Recording]:
        """All that went into it, also those that were rejected."""
        return (recording for context in self.shard.contexts for recording in context)

    def of_units(self, units: Iterable[Unit]) -> "FinishedShard":
        """Forget all recordings but those of some units; the others have no tiles in it."""
        wanted = {context[0].context_id: context for unit in units for context in unit}
        ids = (context[0].context_id for context in self.shard.contexts)
        contexts = tuple(wanted[name] for name in ids if name in wanted)  # in the file's order
        recordings = [recording for context in contexts for recording in context]
        kept = {recording.recording_id for recording in recordings}
        outcomes = tuple(o for o in self.summary.outcomes if o.recording_id in kept)
        return FinishedShard(
            dataclasses.replace(self.shard, contexts=contexts),
            versions_of(recordings, self.versions),
            dataclasses.replace(self.summary, outcomes=outcomes),
        )

    def is_to_be_retried(self, recording: Recording) -> bool:
        """Whether its file was there and could not be read: permissions and storage recover."""
        rejection = self.outcomes[recording.recording_id].rejection
        return (
            rejection is not None and rejection.stage == "read" and recording.uri in self.versions
        )


def read_finished(uris: Sequence[str]) -> Iterator[tuple[str, FinishedShard]]:
    """Read summaries, several at a time; those that are gone or cannot be parsed are left out."""
    for uri, content in storage.read_each(uris):
        if finished := FinishedShard.parse_if_sound(content):
            yield uri, finished


def versions_of(
    recordings: Iterable[Recording], versions: Mapping[str, FileVersion]
) -> dict[str, FileVersion]:
    """Versions of the files of some recordings."""
    return {r.uri: versions[r.uri] for r in recordings if r.uri in versions}


def sources_of(shards: Iterable[FinishedShard]) -> list[Source]:
    """Rows of ``sources.parquet``, in the order of the recordings' ids."""
    rows = [
        _source(finished, recording) for finished in shards for recording in finished.recordings
    ]
    return sorted(rows, key=lambda source: source.recording)


def _source(finished: FinishedShard, recording: Recording) -> Source:
    outcome = finished.outcomes[recording.recording_id]
    version = finished.versions.get(recording.uri, NO_FILE)
    used = outcome.rejection is None
    return Source(
        recording=recording.recording_id,
        uri=recording.uri,
        bytes=version.bytes,
        modified_s=version.modified_s,
        version=version.version,
        seconds=outcome.seconds,
        audible_share=outcome.audible_share,
        samples_sha256=outcome.samples_sha256,
        rejected=outcome.rejection.reason if outcome.rejection else None,
        columns=recording.columns,
        partition=recording.partition,
        context=recording.context_id,
        session=recording.session_id,
        sensor=recording.sensor_id,
        label=recording.label,
        shard=finished.shard.name if used else None,
        cancelled=outcome.cancelled,
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


@functools.cache
def _adapter() -> TypeAdapter[FinishedShard]:
    return TypeAdapter(FinishedShard)
