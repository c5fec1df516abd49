"""The Beam graph, independent of the runner."""

from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_features.job.attempt import Place
from beam_features.job.maker import ShardMaker
from beam_features.job.shard_writer import ShardSummary


class WriteShard(beam.DoFn):  # type: ignore[misc]
    """Make one shard and count what happened."""

    def __init__(self, maker: ShardMaker) -> None:
        self._maker = maker

    def process(self, place: Place) -> Iterator[str]:
        """Make the shard at a place in the plan; yield its name."""
        finished = self._maker.make(place)
        count(finished.summary)
        yield finished.shard.name


def count(summary: ShardSummary) -> None:
    """Add a finished shard to Beam's counters, which runners show during the run."""
    for name in ("recordings", "silent", "tiles", "seconds", "bytes_read", "bytes_written"):
        Metrics.counter("beam_features", name).inc(round(getattr(summary, name)))
    for rejection in summary.rejections:
        Metrics.counter("beam_features", f"rejected_{rejection.reason}").inc()


def build_pipeline(
    pipeline: beam.Pipeline, places: Sequence[Place], write: WriteShard
) -> Iterable[str]:
    """Add the job's steps to `pipeline`; return the names of the finished shards."""
    return (  # type: ignore[no-any-return]
        pipeline
        | "PlannedShards" >> beam.Create(places, reshuffle=False)
        | "SpreadOverWorkers" >> beam.Reshuffle()
        | "WriteShard" >> beam.ParDo(write)
    )
