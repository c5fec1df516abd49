"""The Beam graph, apart from any runner."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from beam_features import storage
from beam_features.plan import Shard
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.shard_writer import write_shard


class WriteShard(beam.DoFn):  # type: ignore[misc]
    """Make one shard and count what happened."""

    def __init__(
        self, output: str, summaries: str, label_ids: Mapping[str, int], spec: FeatureSpec
    ) -> None:
        self._output, self._summaries = output, summaries
        self._label_ids, self._spec = dict(label_ids), spec

    def process(self, shard: Shard) -> Iterator[str]:
        """Write the shard and its summary; yield its name."""
        uri = summary_uri(self._summaries, shard)
        summary = write_shard(shard, self._output, uri, self._label_ids, self._spec)
        Metrics.counter("beam_features", "recordings").inc(summary.recordings)
        Metrics.counter("beam_features", "tiles").inc(summary.tiles)
        for rejection in summary.rejections:
            Metrics.counter("beam_features", f"rejected_{rejection.reason}").inc()
        yield shard.name


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
