"""What of earlier shards stays when the files have changed, and which shards are to be made.

Pure: it compares what was made with the listing. A shard stays if all that has tiles in it is
unchanged. What is unchanged in the other shards is copied from them; the rest is decoded.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from beam_features.job.attempt import PlannedShard
from beam_features.job.finished import FinishedShard, versions_of
from beam_features.job.plan import (
    RECORDINGS_PER_SHARD,
    Shard,
    Unit,
    plan_shards,
    size_of,
    spread,
    units_of,
)
from beam_features.recording import Recording
from dem.access import FileVersion

_SMALL = RECORDINGS_PER_SHARD // 2  # recordings in a shard that is joined with others
_DECODED_AT_ONCE = 4  # shards of a small update, for as many workers
WORTH_A_WORKER = 10  # recordings


@dataclass(frozen=True)
class Listed:
    """What there is now: the recordings, and the version of each file by URI."""

    recordings: Sequence[Recording]
    versions: Mapping[str, FileVersion]
    label_ids: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """Shards that stay, and shards that are to be made."""

    kept: tuple[FinishedShard, ...]
    made: tuple[PlannedShard, ...]


@dataclass(frozen=True)
class _Fragment:
    """Units of an earlier shard that are unchanged."""

    origin: FinishedShard
    units: tuple[Unit, ...]

    @property
    def size(self) -> int:
        return sum(map(size_of, self.units))

    @property
    def is_whole(self) -> bool:
        return self.size == sum(1 for _ in self.origin.recordings)


def plan_update(
    listed: Listed, earlier: Sequence[FinishedShard], update: int, first_shards: int | None
) -> Plan:
    """Decide what stays and what is made, the same for the same arguments.

    Args:
        listed: what there is now.
        earlier: the shards that were made before; of a unit in two of them, the first counts.
        update: the number of this update, which the new shards bear; 0: the first run.
        first_shards: the shards per partition of the first run.
    """
    if not earlier and not update:
        shards = plan_shards(listed.recordings, first_shards)
        return Plan((), tuple(_planned(shard, listed) for shard in shards))
    wanted = {
        _identity(unit, listed.versions): unit
        for units in units_of(listed.recordings).values()
        for unit in units
    }
    kept, broken = _keep_whole_shards(earlier, wanted)
    fragments = list(_fragments(broken, wanted))
    stay, bins = _join_small(kept, fragments, map(_partition_of, wanted.values()))
    return Plan(tuple(stay), tuple(_plan_made(bins, wanted.values(), update, listed)))


def decoded_in(made: Iterable[PlannedShard]) -> int:
    """Number of recordings that are decoded, not copied."""
    return sum(size_of(planned.shard.contexts) for planned in made if not planned.origins)


def describe_changes(listed: Listed, earlier: Iterable[FinishedShard]) -> str:
    """Count the recordings, such as ``1 new, 400 kept, 2 gone``."""
    before = {
        recording.recording_id: (finished, recording)
        for finished in earlier
        for recording in finished.recordings
    }
    counts = dict.fromkeys(("new", "changed", "kept", "retried", "gone"), 0)
    for recording in listed.recordings:
        counts[
            _change_of(recording, listed.versions, before.pop(recording.recording_id, None))
        ] += 1
    counts["gone"] = len(before)
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _change_of(
    recording: Recording,
    versions: Mapping[str, FileVersion],
    before: tuple[FinishedShard, Recording] | None,
) -> str:
    if before is None:
        return "new"
    finished, earlier = before
    if _state(recording, versions) != _state(earlier, finished.versions):
        return "changed"
    return "retried" if finished.is_to_be_retried(earlier) else "kept"


def _state(recording: Recording, versions: Mapping[str, FileVersion]) -> Hashable:
    """All that determines the tiles of a recording: further columns of a table do not."""
    version = versions.get(recording.uri)
    plain = dataclasses.replace(recording, columns=(), drawn=False)
    return plain, version and version.version


def _identity(unit: Unit, versions: Mapping[str, FileVersion]) -> Hashable:
    return tuple(_state(recording, versions) for recording in itertools.chain(*unit))


def _partition_of(unit: Unit) -> str:
    return unit[0][0].partition


def _has_tiles(unit: Unit, finished: FinishedShard) -> bool:
    return any(
        finished.outcomes[recording.recording_id].rejection is None
        for recording in itertools.chain(*unit)
    )


def _unchanged(
    finished: FinishedShard, units: Iterable[Unit], wanted: Mapping[Hashable, Unit]
) -> dict[Hashable, Unit]:
    """Units as they are listed now, of those that need not be decoded again."""
    identities = [
        _identity(unit, finished.versions)
        for unit in units
        if not any(map(finished.is_to_be_retried, itertools.chain(*unit)))
    ]
    return {identity: wanted[identity] for identity in identities if identity in wanted}


def _keep_whole_shards(
    earlier: Iterable[FinishedShard], wanted: dict[Hashable, Unit]
) -> tuple[list[FinishedShard], list[FinishedShard]]:
    """Find the shards of which all tiles are wanted; remove what they hold from `wanted`."""
    kept, broken = [], []
    for finished in earlier:
        units = finished.units
        unchanged = _unchanged(finished, units, wanted)
        sound = _unchanged(finished, (u for u in units if _has_tiles(u, finished)), wanted)
        if len(sound) < sum(_has_tiles(unit, finished) for unit in units):
            broken.append(finished)
        elif unchanged:
            kept.append(finished.of_units(unchanged.values()))
            _remove(wanted, unchanged)
    return kept, broken


def _fragments(
    broken: Iterable[FinishedShard], wanted: dict[Hashable, Unit]
) -> Iterator[_Fragment]:
    """Find what is wanted of the other shards; remove it from `wanted`."""
    for finished in broken:
        unchanged = _unchanged(finished, finished.units, wanted)
        if unchanged:
            yield _Fragment(finished, tuple(unchanged.values()))
            _remove(wanted, unchanged)


def _remove(wanted: dict[Hashable, Unit], units: Iterable[Hashable]) -> None:
    for identity in units:
        del wanted[identity]


def _join_small(
    kept: Iterable[FinishedShard], fragments: Sequence[_Fragment], changed: Iterable[str]
) -> tuple[list[FinishedShard], list[list[_Fragment]]]:
    """Join fragments and small shards of earlier updates, in the partitions that change.

    Many small updates would otherwise leave many small shards.

    Returns:
        The shards that stay, and the fragments of each shard that is to be copied.
    """
    changing = {fragment.origin.shard.partition for fragment in fragments} | set(changed)
    stay, loose = [], list(fragments)
    for finished in kept:
        fragment = _Fragment(finished, tuple(finished.units))
        is_small = finished.shard.update > 0 and finished.is_listed and fragment.size < _SMALL
        if is_small and finished.shard.partition in changing:
            loose.append(fragment)
        else:
            stay.append(finished)
    bins = _pack(loose)
    alone = [bin_[0].origin for bin_ in bins if len(bin_) == 1 and bin_[0].is_whole]
    stay += alone
    return stay, [bin_ for bin_ in bins if bin_[0].origin not in alone]


def _pack(fragments: Iterable[_Fragment]) -> list[list[_Fragment]]:
    """Put fragments of a partition together while they fit into a shard, the largest first."""
    bins: list[list[_Fragment]] = []
    for fragment in sorted(fragments, key=lambda fragment: -fragment.size):
        for bin_ in bins:
            same = bin_[0].origin.shard.partition == fragment.origin.shard.partition
            if same and sum(f.size for f in bin_) + fragment.size <= RECORDINGS_PER_SHARD:
                bin_.append(fragment)
                break
        else:
            bins.append([fragment])
    return bins


def _plan_made(
    bins: Iterable[Sequence[_Fragment]], new: Iterable[Unit], update: int, listed: Listed
) -> Iterator[PlannedShard]:
    """Plan the shards that an update makes: copied ones, then decoded ones, by partition."""
    shares: dict[str, list[tuple[Sequence[Unit], Sequence[_Fragment]]]] = defaultdict(list)
    for bin_ in bins:
        units = [unit for fragment in bin_ for unit in fragment.units]
        shares[_partition_of(units[0])].append((units, bin_))
    decoded: dict[str, list[Unit]] = defaultdict(list)
    for unit in new:
        decoded[_partition_of(unit)].append(unit)
    for partition, alike in decoded.items():
        shares[partition] += [(share, ()) for share in spread(alike, _shares_of(alike))]
    for partition, parts in sorted(shares.items()):
        for index, (share, origins) in enumerate(parts):
            contexts = tuple(itertools.chain(*share))
            shard = Shard(partition, index, len(parts), contexts, update)
            yield _planned(shard, listed, origins)


def _shares_of(units: Iterable[Unit]) -> int:
    """How many shards new units are decoded into."""
    recordings = sum(map(size_of, units))
    return max(
        min(_DECODED_AT_ONCE, math.ceil(recordings / WORTH_A_WORKER)),
        math.ceil(recordings / RECORDINGS_PER_SHARD),
    )


def _planned(shard: Shard, listed: Listed, fragments: Sequence[_Fragment] = ()) -> PlannedShard:
    recordings = [recording for context in shard.contexts for recording in context]
    outcomes = tuple(
        fragment.origin.outcomes[recording.recording_id]
        for fragment in fragments
        for recording in itertools.chain(*itertools.chain(*fragment.units))
    )
    return PlannedShard(
        shard,
        {r.label: listed.label_ids[r.label] for r in recordings if r.label is not None},
        versions_of(recordings, listed.versions),
        tuple(fragment.origin.shard.name for fragment in fragments),
        outcomes,
    )
