"""Which context goes into which shard: decided before any audio is read, the same on every run.

A shard is the unit of work. It depends only on its recordings and the settings, so shards can be
made in any order, on any machine, and those that a killed job finished need not be redone.
"""

import heapq
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from beam_features.datasets.split import sha256_of
from beam_features.recording import Recording
from dem.errors import InputError

Context = tuple[Recording, ...]
"""Recordings of one context in time order."""

Unit = tuple[Context, ...]
"""Contexts that must be in one shard: all of a session with several sensors, or one."""


@dataclass(frozen=True)
class Shard:
    """One output file and the contexts that go into it."""

    partition: str
    index: int
    total: int
    contexts: tuple[Context, ...]
    update: int = 0  # which update added it; 0: the first run

    @property
    def name(self) -> str:
        """File name, such as ``train-00001-of-00004.tfrecord``, or ``train+1-…`` of an update."""
        return f"{self._stem}.tfrecord"

    @property
    def summary_name(self) -> str:
        """File name of its summary, such as ``train-00001-of-00004.json``."""
        return f"{self._stem}.json"

    @property
    def _stem(self) -> str:
        update = f"+{self.update}" if self.update else ""  # no partition has a + in its name
        return f"{self.partition}{update}-{self.index:05d}-of-{self.total:05d}"


def shard_pattern(partition: str, total: int) -> str:
    """Pattern of a partition's file names, such as ``train-*-of-00004.tfrecord``."""
    return f"{partition}-*-of-{total:05d}.tfrecord"


RECORDINGS_PER_SHARD = 100
_FEWEST_SHARDS = 4


def plan_shards(
    recordings: Iterable[Recording], shards_per_partition: int | None = None
) -> list[Shard]:
    """Spread each partition's contexts evenly over at most `shards_per_partition` shards.

    Contexts are ordered by the sha256 of their id, so that every shard is a mixture. The contexts
    of a session with several sensors stay adjacent in one shard: a reader finds the same instant at
    another sensor without a search. The default number of shards grows with the recordings, so that
    a kill costs little and many workers have work.
    """
    return [
        shard
        for partition, units in units_of(recordings).items()
        for shard in _plan_partition(partition, units, shards_per_partition)
    ]


def units_of(recordings: Iterable[Recording]) -> dict[str, list[Unit]]:
    """Group each partition's recordings into units, in the order of the sha256 of their name."""
    partitions: dict[str, dict[str, list[Recording]]] = defaultdict(lambda: defaultdict(list))
    for recording in recordings:
        partitions[recording.partition][recording.context_id].append(recording)
    return {
        partition: group_into_units(
            [
                tuple(sorted(contexts[name], key=lambda r: (r.offset_s, r.recording_id)))
                for name in sorted(contexts, key=sha256_of)
            ]
        )
        for partition, contexts in sorted(partitions.items())
    }


def _plan_partition(partition: str, units: Sequence[Unit], wanted: int | None) -> list[Shard]:
    if wanted is None:
        recordings = sum(map(size_of, units))
        wanted = max(_FEWEST_SHARDS, math.ceil(recordings / RECORDINGS_PER_SHARD))
    shares = spread(units, wanted)
    return [
        Shard(partition, index, len(shares), tuple(itertools.chain(*share)))
        for index, share in enumerate(shares)
    ]


def group_into_units(contexts: Sequence[Context]) -> list[Unit]:
    """Group contexts of one partition that must be in one shard."""
    sensors: dict[str, set[str]] = defaultdict(set)
    for context in contexts:
        sensors[context[0].session_id].add(context[0].sensor_id)
    units: dict[str, list[Context]] = defaultdict(list)
    for context in contexts:
        first = context[0]
        several = len(sensors[first.session_id]) > 1
        units[first.session_id if several else first.context_id].append(context)
    return [tuple(units[name]) for name in sorted(units, key=sha256_of)]


def size_of(unit: Unit) -> int:
    """Number of recordings."""
    return sum(map(len, unit))


def spread(units: Sequence[Unit], wanted: int) -> list[list[Unit]]:
    """Spread units evenly over at most `wanted` shares, in their order within each."""
    shares = _balanced([size_of(unit) for unit in units], min(wanted, len(units)))
    return [[units[number] for number in share] for share in shares]


def _balanced(sizes: Sequence[int], total: int) -> list[list[int]]:
    """Assign numbered units, the largest first, each to the least loaded of `total` shares.

    The largest share is that of the largest unit, or at most a third above the optimum (Graham
    1969, https://doi.org/10.1137/0117039). Units of a share are in the order of their numbers.
    """
    shares: list[list[int]] = [[] for _ in range(total)]
    loads = [(0, index) for index in range(total)]
    for unit in sorted(range(len(sizes)), key=lambda unit: -sizes[unit]):
        load, index = heapq.heappop(loads)
        shares[index].append(unit)
        heapq.heappush(loads, (load + sizes[unit], index))
    return [sorted(share) for share in shares]


def check_unique(recordings: Sequence[Recording]) -> None:
    """Refuse two recordings with one id: scores per recording would mix them."""
    seen: set[str] = set()
    for recording in recordings:
        if recording.recording_id in seen:
            raise InputError(
                f"two recordings have the id {recording.recording_id!r}; remove one of them"
            )
        seen.add(recording.recording_id)


def check_contexts(recordings: Iterable[Recording]) -> None:
    """Refuse a context in two partitions (a leak), or of two sessions or sensors."""
    first: dict[str, Recording] = {}
    for recording in recordings:
        other = first.setdefault(recording.context_id, recording)
        for name, here, there in (
            ("partition", recording.partition, other.partition),
            ("session", recording.session_id, other.session_id),
            ("sensor", recording.sensor_id, other.sensor_id),
        ):
            if here != there:
                raise InputError(
                    f"context {recording.context_id!r} has recordings of two {name}s, {there!r} "
                    f"({other.recording_id!r}) and {here!r} ({recording.recording_id!r}); "
                    f"a context is in one {name}"
                )
