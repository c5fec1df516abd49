"""Make one shard: read its recordings, write its tiles, leave a summary. Called by Beam workers."""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter
from pydantic.dataclasses import dataclass

from beam_features import storage
from beam_features.audio import decode_audio, resample
from beam_features.datasets import sample
from beam_features.plan import Shard
from beam_features.recording import Recording, RejectedRecording, Rejection
from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import encode_strip
from beam_features.tfrecord import frame_record
from beam_features.tiles import strips_of, tiles_of


@dataclass(frozen=True)
class ShardSummary:
    """What a finished shard holds; its presence means that the shard is complete."""

    strips: int
    tiles: int
    recordings: int
    seconds: float
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
    shard: Shard, output: str, summary_uri: str, label_ids: Mapping[str, int], spec: FeatureSpec
) -> ShardSummary:
    """Write ``output/shard.name``, then its summary, each complete or not at all."""
    durations_s: dict[str, float] = {}
    rejections: list[Rejection] = []
    moments: list[Moments] = []
    counts: Counter[str] = Counter()

    def read_tiles(recording: Recording) -> npt.NDArray[np.float32]:
        samples = read_samples(recording.uri, spec)
        durations_s[recording.recording_id] = len(samples) / spec.sample_rate_hz
        return tiles_of(samples, spec)

    def reject(recording: Recording, why: RejectedRecording) -> None:
        rejections.append(Rejection(recording.uri, why.stage, why.reason, why.detail))

    with storage.atomic_write(storage.join(output, shard.name)) as file:
        for context in shard.contexts:
            for strip in strips_of(context, read_tiles, reject, label_ids, spec):
                file.write(frame_record(encode_strip(strip)))
                moments.append(Moments.of(strip.log_mel))
                counts.update(strips=1, tiles=len(strip.log_mel))

    summary = ShardSummary(
        strips=counts["strips"],
        tiles=counts["tiles"],
        recordings=len(durations_s),
        seconds=sum(durations_s.values()),
        moments=Moments.total(moments, spec.n_mels),
        rejections=tuple(rejections),
    )
    storage.write_text(summary_uri, summary.dump())
    return summary


def read_samples(uri: str, spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Read a recording as mono ``[n_samples]`` at ``spec.sample_rate_hz``, or reject it."""
    if sample.is_sample(uri):
        return resample(sample.synthesise(uri), sample.SAMPLE_RATE_HZ, spec)
    try:
        with storage.open_binary(uri) as file:
            return decode_audio(file, spec)
    except FileNotFoundError as error:
        raise RejectedRecording("read", "missing", "there is no such file") from error
    except PermissionError as error:
        raise RejectedRecording("read", "unreadable", "permission denied") from error
