"""One shard of an attempt, from its place in the plan to its files: what every engine runs."""

import logging
from dataclasses import dataclass

from threadpoolctl import threadpool_limits

from beam_features.job.attempt import Attempt, Place, PlannedShard
from beam_features.job.finished import FinishedShard
from beam_features.job.reading import note
from beam_features.job.rewrite import CorruptShardError, copy_strips
from beam_features.job.shard_writer import ShardSummary, write_shard
from beam_features.tiles.read import ReadSettings
from dem import storage

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardMaker:
    """Makes shards of `attempt` in the directory `output`; sent to workers as it is."""

    attempt: Attempt
    output: str
    settings: ReadSettings

    def make(self, place: Place) -> FinishedShard:
        """Make the shard at a place in the plan, and its summary.

        Both are moved into place once they are complete, the summary last, so that an interrupted
        attempt leaves nothing that looks finished.
        """
        threadpool_limits(1, "blas")  # its threads spin while they wait, and other workers starve
        planned = self.attempt.read_plan(place)
        shard = planned.shard
        note(f"what {shard.name} is made of")
        with self.attempt.scratch() as scratch:
            finished = FinishedShard(shard, planned.versions, self._write(planned, scratch))
            storage.write_text(storage.join(scratch, shard.summary_name), finished.dump())
            self.attempt.check_current()
            places = {shard.name: self.output, shard.summary_name: self.attempt.incomplete}
            for name, directory in places.items():
                storage.rename(storage.join(scratch, name), storage.join(directory, name))
        note("")
        return finished

    def _write(self, planned: PlannedShard, scratch: str) -> ShardSummary:
        """Copy the tiles from earlier shards if they hold them, or decode the recordings."""
        if planned.origins:
            try:
                return copy_strips(planned, self.output, scratch, self.settings.spec)
            except CorruptShardError as error:
                _LOG.warning(f"{error}; its recordings are decoded again")
        return write_shard(planned.shard, scratch, planned.label_ids, self.settings)
