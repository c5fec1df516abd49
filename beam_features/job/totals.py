"""What the shards hold in total: `dataset_info.json`, and a table of it to print."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from beam_features.job.duplicates import equal_sounds
from beam_features.job.plan import Shard, shard_pattern
from beam_features.job.remarks import remarks_on
from beam_features.job.shard_writer import ShardSummary
from beam_features.recording import Rejection
from beam_features.schema.dataset_info import DatasetInfo, Moments, Partition
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.sources import Source
from beam_features.schema.strip import SCHEMA_VERSION

PACKAGES = ("numpy", "scipy", "soundfile", "soxr")
"""What decides the bytes of a shard, beside this package."""
_COLUMNS = ("recordings", "silent", "cancelled", "duplicates", "strips", "tiles", "hours")


def sum_up(
    summaries: Mapping[Shard, ShardSummary],
    sources: Sequence[Source],
    unused: Iterable[Rejection],
    labels: Sequence[str],
    spec: FeatureSpec,
    arguments: Mapping[str, Any],
) -> DatasetInfo:
    """Combine the summaries of all shards, in the order of their names.

    Args:
        summaries: of every shard.
        sources: all recordings.
        unused: the rejected recordings and the skipped files.
        labels: names, in the order of their ids.
        spec: of the features.
        arguments: of the job.
    """
    names = sorted({shard.partition for shard in summaries})
    equals = equal_sounds(sources)
    repeated = Counter(s.partition for group in equals for s in group[1:])
    return DatasetInfo(
        schema_version=SCHEMA_VERSION,
        feature_spec=spec,
        fingerprint=spec.fingerprint,
        label_names=tuple(labels),
        partitions={
            name: _partition(name, summaries, repeated[name], spec.n_mels) for name in names
        },
        rejected=dict(sorted(Counter(rejection.reason for rejection in unused).items())),
        source=arguments,
        versions={package: version(package) for package in ("apache-beam", *PACKAGES)},
        remarks=remarks_on(sources, equals),
    )


def _partition(
    name: str, summaries: Mapping[Shard, ShardSummary], duplicates: int, n_mels: int
) -> Partition:
    shards = [shard for shard in summaries if shard.partition == name]
    parts = [summaries[shard] for shard in shards]
    pattern = shard_pattern(name, len(parts))
    of_one_run = all((shard.update, shard.total) == (0, len(parts)) for shard in shards)
    return Partition(
        shards=pattern if of_one_run else f"{name}*-of-*.tfrecord",
        n_shards=len(parts),
        strips=sum(part.strips for part in parts),
        tiles=sum(part.tiles for part in parts),
        recordings=sum(part.recordings for part in parts),
        silent=sum(part.silent for part in parts),
        cancelled=sum(part.cancelled for part in parts),
        duplicates=duplicates,
        seconds=sum(part.seconds for part in parts),
        moments=Moments.total((part.moments for part in parts), n_mels),
        names=None if of_one_run else tuple(shard.name for shard in shards),
    )


def as_table(info: DatasetInfo) -> str:
    """Format the counts of each partition, and the remarks on recordings."""
    lines = [f"{'partition':<14}" + "".join(f"{word:>11}" for word in _COLUMNS)]
    for name, part in info.partitions.items():
        found = (part.recordings, part.silent, part.cancelled, part.duplicates)
        columns = "".join(f"{count:>11}" for count in (*found, part.strips, part.tiles))
        lines.append(f"{name:<14}{columns}{part.seconds / 3600:>11.2f}")
    return "\n".join([*lines, *info.remarks])
