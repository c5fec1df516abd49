"""The Beam graph, apart from any runner."""

from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics
from threadpoolctl import threadpool_limits

from beam_features.job.plan import Shard
from beam_features.job.run_directory import Place, Run
from beam_features.job.shard_writer import ShardSummary, write_shard
from beam_features.tiles.read import ReadSettings
from dem import storage


class WriteShard(beam.DoFn):  # type: ignore[misc]
    """Make one shard and count what happened."""

    def __init__(self, run: Run, output: str, summaries: str, settings: ReadSettings) -> None:
        self._run, self._output, self._summaries = run, output, summaries
        self._settings = settings

    def setup(self) -> None:
        """Leave the other cores to other workers: threads of BLAS spin while they wait."""
        threadpool_limits(1, "blas")

    def process(self, place: Place) -> Iterator[str]:
        """Make the shard at a place in the plan and its summary; yield its name.

        Both are moved into place when they are whole, the summary last, so that an interrupted
        try leaves no mark.
        """
        planned = self._run.read_plan(place)
        shard = planned.shard
        with self._run.scratch() as scratch:
            made = storage.join(scratch, shard.name), summary_uri(scratch, shard)
            summary = write_shard(shard, scratch, made[1], planned.label_ids, self._settings)
            self._run.check_current()
            storage.rename(made[0], storage.join(self._output, shard.name))
            storage.rename(made[1], summary_uri(self._summaries, shard))
        count(summary)
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
    pipeline: beam.Pipeline, places: Sequence[Place], write: WriteShard
) -> Iterable[str]:
    """Add the job's steps to `pipeline`; the result holds the names of the finished shards."""
    return (  # type: ignore[no-any-return]
        pipeline
        | "PlannedShards" >> beam.Create(places, reshuffle=False)
        | "SpreadOverWorkers" >> beam.Reshuffle()
        | "WriteShard" >> beam.ParDo(write)
    )
