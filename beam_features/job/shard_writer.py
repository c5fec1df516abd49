"""Make one shard: read its recordings, write its tiles and a summary. Called by Beam workers."""

from collections.abc import Iterator, Mapping, Sequence

from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from beam_features.job.plan import Shard
from beam_features.job.tfrecord import frame_record
from beam_features.recording import Recording, Rejection
from beam_features.schema.audio.files import Float32, RejectedRecording
from beam_features.schema.dataset_info import Moments
from beam_features.schema.strip import Strip, encode_strip
from beam_features.tiles.read import ReadSettings, Tally, read_tiles
from beam_features.tiles.strips import strips_of, strips_of_contexts
from dem import storage


@dataclass(frozen=True)
class ShardSummary:
    """What a finished shard holds; its presence marks the shard as complete."""

    strips: int
    tiles: int
    recordings: int
    silent: int  # of the recordings, those whose samples are all equal
    seconds: float
    bytes_read: int
    bytes_written: int
    moments: Moments
    rejections: tuple[Rejection, ...]

    def dump(self) -> str:
        """Serialise to JSON."""
        return TypeAdapter(ShardSummary).dump_json(self).decode()

    @classmethod
    def parse(cls, text: str) -> "ShardSummary":
        """Parse what `dump` gave."""
        return TypeAdapter(cls).validate_json(text)


def write_shard(
    shard: Shard, output: str, label_ids: Mapping[str, int], settings: ReadSettings
) -> ShardSummary:
    """Write a shard, then its summary, to the directory `output`, each atomically."""
    spec = settings.spec
    tally = Tally()
    rejections: list[Rejection] = []
    moments: list[Moments] = []
    n_tiles = n_bytes = 0

    def read(recording: Recording) -> Iterator[Float32]:
        return read_tiles(recording.uri, settings, tally)

    def reject(recording: Recording, cause: RejectedRecording) -> None:
        rejections.append(Rejection(recording.uri, cause.stage, cause.reason, cause.detail))

    def strips_of_one(context: Sequence[Recording]) -> Iterator[Strip]:
        return strips_of(context, read, reject, label_ids, spec)

    with storage.atomic_write(storage.join(output, shard.name)) as file:
        for strip in strips_of_contexts(shard.contexts, strips_of_one):
            n_bytes += file.write(frame_record(encode_strip(strip)))
            moments.append(Moments.of(strip.log_mel))
            n_tiles += len(strip.log_mel)

    summary = ShardSummary(
        strips=len(moments),
        tiles=n_tiles,
        recordings=tally.recordings,
        silent=tally.silent,
        seconds=tally.seconds,
        bytes_read=tally.n_bytes,
        bytes_written=n_bytes,
        moments=Moments.total(moments, spec.n_mels),
        rejections=tuple(rejections),
    )
    storage.write_text(storage.join(output, shard.summary_name), summary.dump())
    return summary
