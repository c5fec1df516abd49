"""The engine that is Apache Beam, with any of its runners."""

from collections.abc import Mapping

from apache_beam import Pipeline
from apache_beam.options.pipeline_options import PipelineOptions

from beam_features.job.attempt import Place
from beam_features.job.engine import EngineError
from beam_features.job.fork import ForkServer
from beam_features.job.maker import ShardMaker
from beam_features.job.options import cause_of, use_one_process, uses_processes
from beam_features.job.pipeline import WriteShard, build_pipeline
from beam_features.job.processes import ForkingRunner


class BeamEngine:
    """Makes shards by Beam's options; `workers` starts those that are processes of this machine."""

    def __init__(self, options: PipelineOptions, workers: ForkServer) -> None:
        self._options, self._workers = options, workers

    def use_one_process(self) -> None:
        """Let a local runner work in this process."""
        use_one_process(self._options)

    def make_shards(self, maker: ShardMaker, places: Mapping[str, Place]) -> None:
        """Run the pipeline to its end."""
        runner = ForkingRunner(self._workers) if uses_processes(self._options) else None
        try:
            with Pipeline(runner, self._options) as pipeline:
                build_pipeline(pipeline, list(places.values()), WriteShard(maker))
        except Exception as error:  # its type depends on the runner
            raise EngineError(self._workers.lost or cause_of(error, self._options)) from error
