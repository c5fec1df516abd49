"""Make a shard from records of earlier shards: the tiles of unchanged recordings, not decoded."""

from collections.abc import Iterator

from google.protobuf.message import DecodeError

from beam_features.job.attempt import PlannedShard
from beam_features.job.shard_writer import ShardSummary, StripWriter
from beam_features.job.tfrecord import read_records
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import Strip, decode_strip
from dem import storage
from dem.errors import InputError


class CorruptShardError(Exception):
    """An earlier shard does not hold what was written to it."""


def copy_strips(
    planned: PlannedShard, directory: str, output: str, spec: FeatureSpec
) -> ShardSummary:
    """Write a shard to `output`, atomically, with the records of its recordings in `directory`.

    Raises:
        CorruptShardError: an earlier shard is missing, damaged or lacks a recording.
    """
    recordings = {r.recording_id for context in planned.shard.contexts for r in context}
    used = {outcome.recording_id for outcome in planned.outcomes if outcome.rejection is None}
    found: set[str] = set()
    with storage.atomic_write(storage.join(output, planned.shard.name)) as file:
        writer = StripWriter(file, spec.n_mels)
        for record, strip in _read_strips(planned, directory, spec):
            if strip.recording_ids[0] in recordings:
                writer.add(strip, record)
                found.update(strip.recording_ids)
        if found != used:
            raise CorruptShardError("other recordings than expected")
    return writer.summary(planned.outcomes)


def _read_strips(
    planned: PlannedShard, directory: str, spec: FeatureSpec
) -> Iterator[tuple[bytes, Strip]]:
    for name in planned.origins:
        uri = storage.join(directory, name)
        try:
            with storage.open_binary(uri) as file:
                for record in read_records(file):
                    yield record, decode_strip(record, spec.tile_shape)
        except (ValueError, IndexError, DecodeError, InputError, FileNotFoundError) as error:
            raise CorruptShardError(f"{uri}: {error}") from error
