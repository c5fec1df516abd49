"""The Beam graph, independent of the runner."""

import logging
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics
from threadpoolctl import threadpool_limits

from beam_features.job.attempt import Attempt, Place, PlannedShard
from beam_features.job.finished import FinishedShard
from beam_features.job.reading import note
from beam_features.job.rewrite import CorruptShardError, copy_strips
from beam_features.job.shard_writer import ShardSummary, write_shard
from beam_features.tiles.read import ReadSettings
from dem import storage

_LOG = logging.getLogger(__name__)


class WriteShard(beam.DoFn):  # type: ignore[misc]
    """Make one shard and count what happened."""

    def __init__(self, attempt: Attempt, output: str, settings: ReadSettings) -> None:
        self._attempt, self._output, self._settings = attempt, output, settings

    def setup(self) -> None:
        """Limit BLAS to one thread: its threads spin while they wait, and other workers starve."""
        threadpool_limits(1, "blas")

    def process(self, place: Place) -> Iterator[str]:
        """Make the shard at a place in the plan, and its summary; yield its name.

        Both are moved into place once they are complete, the summary last, so that an interrupted
        attempt leaves nothing that looks finished.
        """
        planned = self._attempt.read_plan(place)
        shard = planned.shard
        note(f"what {shard.name} is made of")
        with self._attempt.scratch() as scratch:
            summary = self._make(planned, scratch)
            finished = FinishedShard(shard, planned.versions, summary)
            storage.write_text(storage.join(scratch, shard.summary_name), finished.dump())
            self._attempt.check_current()
            places = {shard.name: self._output, shard.summary_name: self._attempt.incomplete}
            for name, directory in places.items():
                storage.rename(storage.join(scratch, name), storage.join(directory, name))
        note("")
        count(summary)
        yield shard.name

    def _make(self, planned: PlannedShard, scratch: str) -> ShardSummary:
        """Copy the tiles from earlier shards if they hold them, or decode the recordings."""
        if planned.origins:
            try:
                return copy_strips(planned, self._output, scratch, self._settings.spec)
            except CorruptShardError as error:
                _LOG.warning(f"{error}; its recordings are decoded again")
        return write_shard(planned.shard, scratch, planned.label_ids, self._settings)


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
