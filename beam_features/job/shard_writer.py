"""Make one shard: read its recordings, write its tiles, sum them up. Called by Beam workers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import BinaryIO

from pydantic.dataclasses import dataclass

from beam_features.job.plan import Shard
from beam_features.job.reading import note
from beam_features.job.tfrecord import frame_record
from beam_features.recording import Outcome, Recording, Rejection
from beam_features.schema.audio.files import Float32, RejectedRecording
from beam_features.schema.dataset_info import Moments
from beam_features.schema.strip import Strip, encode_strip
from beam_features.tiles.contain import FailedMidwayError, contained
from beam_features.tiles.read import Heard, ReadSettings, read_tiles
from beam_features.tiles.strips import strips_of, strips_of_contexts
from dem import storage


@dataclass(frozen=True)
class ShardSummary:
    """What a finished shard holds, and what became of each of its recordings."""

    strips: int
    tiles: int
    bytes_written: int
    moments: Moments
    outcomes: tuple[Outcome, ...]

    @property
    def recordings(self) -> int:
        """Number of recordings that were used."""
        return sum(outcome.rejection is None for outcome in self.outcomes)

    @property
    def silent(self) -> int:
        """Number of recordings without an audible tile; they are used."""
        return sum(outcome.silent for outcome in self.outcomes)

    @property
    def cancelled(self) -> int:
        """Number of recordings whose channels cancel in their mean; they are used."""
        return sum(outcome.cancelled for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """Length of the recordings that were used."""
        return sum(outcome.seconds for outcome in self.outcomes)

    @property
    def bytes_read(self) -> int:
        """Size of the recordings that were used."""
        return sum(outcome.bytes_read for outcome in self.outcomes)

    @property
    def rejections(self) -> tuple[Rejection, ...]:
        """Why recordings were not used."""
        return tuple(o.rejection for o in self.outcomes if o.rejection is not None)


class StripWriter:
    """Writes strips to the open file of a shard and sums them up."""

    def __init__(self, file: BinaryIO, n_mels: int) -> None:
        self._file, self._n_mels = file, n_mels
        self._moments: list[Moments] = []
        self._tiles = self._bytes = 0

    def add(self, strip: Strip, record: bytes) -> None:
        """Append a strip, serialised as `record`."""
        self._bytes += self._file.write(frame_record(record))
        self._moments.append(Moments.of(strip.log_mel))
        self._tiles += len(strip.log_mel)

    def summary(self, outcomes: Iterable[Outcome]) -> ShardSummary:
        """Sum up what was written, with what became of the recordings."""
        return ShardSummary(
            strips=len(self._moments),
            tiles=self._tiles,
            bytes_written=self._bytes,
            moments=Moments.total(self._moments, self._n_mels),
            outcomes=tuple(outcomes),
        )


def write_shard(
    shard: Shard, output: str, label_ids: Mapping[str, int], settings: ReadSettings
) -> ShardSummary:
    """Write a shard to the directory `output`, atomically.

    It is begun again without a recording that fails when tiles of it are in the file already.
    """
    failed: dict[str, RejectedRecording] = {}
    while True:
        try:
            return _write_without(failed, shard, output, label_ids, settings)
        except FailedMidwayError as failure:
            failed[failure.recording_id] = failure.rejection


def _write_without(
    failed: Mapping[str, RejectedRecording],
    shard: Shard,
    output: str,
    label_ids: Mapping[str, int],
    settings: ReadSettings,
) -> ShardSummary:
    spec = settings.spec
    outcomes: list[Outcome] = []

    def read(recording: Recording) -> Iterator[Float32]:
        if recording.recording_id in failed:
            raise failed[recording.recording_id]
        note(f"{recording.uri!r} for {shard.name}")
        heard = Heard()
        tiles = read_tiles(recording.uri, settings, heard)
        yield from contained(recording.recording_id, tiles)
        outcomes.append(Outcome(recording.recording_id, **asdict(heard)))

    def reject(recording: Recording, cause: RejectedRecording) -> None:
        rejection = Rejection(recording.uri, cause.stage, cause.reason, cause.detail)
        outcomes.append(Outcome(recording.recording_id, rejection))

    def strips_of_one(context: Sequence[Recording]) -> Iterator[Strip]:
        return strips_of(context, read, reject, label_ids, spec)

    with storage.atomic_write(storage.join(output, shard.name)) as file:
        writer = StripWriter(file, spec.n_mels)
        for strip in strips_of_contexts(shard.contexts, strips_of_one):
            writer.add(strip, encode_strip(strip))
    return writer.summary(outcomes)
