"""What makes the shards of a plan: Beam with one of its runners, or Dask."""

from collections.abc import Mapping
from typing import Protocol

from beam_features.job.attempt import Place
from beam_features.job.maker import ShardMaker
from dem.errors import JobError


class EngineError(JobError):
    """Shards could not be made; the message is the cause, as one line."""


class Engine(Protocol):
    """Runs a `ShardMaker` on workers."""

    def use_one_process(self) -> None:
        """Work in this process where that is possible: no other is worth its start."""

    def make_shards(self, maker: ShardMaker, places: Mapping[str, Place]) -> None:
        """Make the shards at these places in the plan, by name.

        Raises:
            EngineError: one of them failed, or the workers did.
            InputError: the workers cannot make any.
        """
