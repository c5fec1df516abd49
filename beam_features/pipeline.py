"""The Beam graph, apart from any runner."""

from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_features import storage
from beam_features.plan import Shard
from beam_features.shard_writer import ShardSettings, ShardSummary, write_shard


class WriteShard(beam.DoFn):  # type: ignore[misc]
    """Make one shard and count what happened."""

    def __init__(self, output: str, summaries: str, settings: ShardSettings) -> None:
        self._output, self._summaries, self._settings = output, summaries, settings

    def process(self, shard: Shard) -> Iterator[str]:
        """Write the shard and its summary; yield its name."""
        uri = summary_uri(self._summaries, shard)
        count(write_shard(shard, self._output, uri, self._settings))
        yield shard.name


def count(summary: ShardSummary) -> None:
    """Add a finished shard to Beam's counters, which runners show while they run."""
    for name in ("recordings", "silent", "tiles", "seconds", "bytes_read", "bytes_written"):
        Metrics.counter("beam_features", name).inc(round(getattr(summary, name)))
    for rejection in summary.rejections:
        Metrics.counter("beam_features", f"rejected_{rejection.reason}").inc()


def summary_uri(summaries: str, shard: Shard) -> str:
    """Where the summary of a shard lies while the job is under way."""
    return storage.join(summaries, shard.name.replace(".tfrecord", ".json"))


def build_pipeline(
    pipeline: beam.Pipeline, shards: Sequence[Shard], write: WriteShard
) -> Iterable[str]:
    """Add the job's steps to `pipeline`; the result holds the names of the finished shards."""
    return (  # type: ignore[no-any-return]
        pipeline
        | "PlannedShards" >> beam.Create(shards, reshuffle=False)
        | "SpreadOverWorkers" >> beam.Reshuffle()
        | "WriteShard" >> beam.ParDo(write)
    )
