"""One attempt at the job: its plan, which launcher and workers share, and its right to write.

``OUTPUT/incomplete/run-<id>/`` holds ``plan.jsonl``, a line per shard that the attempt will make,
and the unfinished files of its workers. The Beam graph carries places in that file, so that its
size does not grow with the recordings.

Workers may outlive a killed launcher, those of a cluster by hours. So an attempt begins by deleting
the directories of all others, but for those that make other shares of the same plan: without its
plan, a worker neither starts nor publishes a shard.
"""

import dataclasses
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import TypeAdapter

from beam_features.job.plan import Shard
from beam_features.job.share import Share
from beam_features.recording import Outcome
from dem import storage
from dem.access import FileVersion
from dem.errors import JobError

_DIRECTORY = re.compile(r"(run-[0-9a-f]{32}(?:-(\d+)-of-(\d+))?)/.+", re.DOTALL)
_PLAN = "plan.jsonl"

Place = tuple[int, int]  # offset and length in bytes


@dataclass(frozen=True)
class PlannedShard:
    """A line of the plan: a shard and what a worker needs to make it.

    Attributes:
        shard: its name and recordings.
        label_ids: of its recordings' labels.
        versions: of its recordings' files, by URI.
        origins: names of earlier shards that hold its tiles already; empty: it is decoded.
        outcomes: what came of its recordings in these.
    """

    shard: Shard
    label_ids: Mapping[str, int]
    versions: Mapping[str, FileVersion]
    origins: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()

    def dump(self) -> str:
        """Serialise to one line of JSON, in ASCII because file names may be invalid UTF-8."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, line: str | bytes) -> "PlannedShard":
        """Parse what `dump` returned."""
        return TypeAdapter(cls).validate_python(json.loads(line))


@dataclass(frozen=True)
class Attempt:
    """An attempt at the job; the launcher begins it and sends it to the workers."""

    incomplete: str
    name: str

    @classmethod
    def begin(cls, incomplete: str, share: Share | None = None) -> "Attempt":
        """Take `incomplete` over from earlier attempts; their workers can then publish nothing.

        Attempts at other shares of as many go on.
        """
        names = (uri.removeprefix(incomplete + "/") for uri in storage.list_files(incomplete))
        matches = [match for name in names if (match := _DIRECTORY.fullmatch(name))]
        for other in sorted({match[1] for match in matches if not _is_beside(match, share)}):
            storage.delete(storage.join(incomplete, other, _PLAN))
            storage.delete_tree(storage.join(incomplete, other))
        suffix = f"-{share.index}-of-{share.count}" if share else ""
        return cls(incomplete, f"run-{uuid.uuid4().hex}{suffix}")

    def write_plan(self, shards: Sequence[PlannedShard]) -> list[Place]:
        """Write the plan; return the place of each shard in it."""
        places, offset = [], 0
        with storage.atomic_write(self._plan_uri) as file:
            for planned in shards:
                line = planned.dump().encode() + b"\n"
                file.write(line)
                places.append((offset, len(line)))
                offset += len(line)
        return places

    def read_plan(self, place: Place) -> PlannedShard:
        """Read the shard at a place in the plan."""
        self.check_current()
        return PlannedShard.parse(storage.read_range(self._plan_uri, *place))

    @contextmanager
    def scratch(self) -> Iterator[str]:
        """Yield a directory for one try at a shard: a runner may run two tries at the same time."""
        uri = storage.join(self.uri, uuid.uuid4().hex)
        try:
            yield uri
        finally:
            storage.delete_tree(uri)
            if not storage.is_file(self._plan_uri):  # a write has recreated deleted directories
                storage.delete_empty_directories(self.uri, self.incomplete)

    def check_current(self) -> None:
        """Check that no other attempt has taken over and that the job is not complete.

        Raises:
            JobError: the plan was deleted.
        """
        if not storage.is_file(self._plan_uri):
            raise JobError(f"{self._plan_uri} was deleted: another run has taken over")

    @property
    def uri(self) -> str:
        """The directory of the attempt."""
        return storage.join(self.incomplete, self.name)

    @property
    def _plan_uri(self) -> str:
        return storage.join(self.uri, _PLAN)


def _is_beside(match: re.Match[str], share: Share | None) -> bool:
    """Whether a directory is that of another share of as many."""
    if share is None or match[2] is None:
        return False
    return int(match[2]) != share.index and int(match[3]) == share.count
