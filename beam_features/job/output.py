"""The output directory: what it holds while the job runs, and whether a new run may use it.

While the job runs, ``OUTPUT/incomplete/`` holds the claim of the run, a summary per finished shard
and the directory of the attempt. Once all shards exist, `shards.jsonl`, `sources.parquet` and at
last `dataset_info.json` are written; then ``incomplete/`` and the shards that an update has
replaced are deleted. Until then a reader finds what the earlier `dataset_info.json` says.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from beam_features.job.finished import FinishedShard, read_finished, sources_of
from beam_features.job.plan import Shard
from beam_features.job.share import Share
from beam_features.recording import Rejection
from beam_features.schema.dataset_info import (
    DATASET_INFO,
    DatasetInfo,
    dump_dataset_info,
    parse_dataset_info,
)
from beam_features.schema.sources import SOURCES, write_sources
from dem import storage
from dem.errors import InputError
from dem.settings import describe_differences

_SHARD = re.compile(r"[^/]+-\d{5}-of-\d{5}\.tfrecord")
_OURS = re.compile(rf"{_SHARD.pattern}|rejected-\d{{5}}-of-\d{{5}}\.jsonl|{SOURCES}|shards\.jsonl")
_OURS_INCOMPLETE = re.compile(
    r"arguments\.json|completing|[^/]+-\d{5}-of-\d{5}\.json|run-[0-9a-f]{32}(-\d+-of-\d+)?/.+",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a run that is not complete makes: ``incomplete/arguments.json``."""

    arguments: Mapping[str, Any]
    update: int  # 0: the first run
    files_sha256: str  # of what it lists
    labels: tuple[str, ...]  # in the order of their ids

    def dump(self) -> str:
        """Serialise to indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)

    @classmethod
    def parse(cls, text: str) -> "Claim":
        """Parse what `dump` returned, or what a version wrote that knew no updates."""
        values = json.loads(text)
        if "arguments" not in values:
            return cls(values, 0, "", ())
        return TypeAdapter(cls).validate_python(values)


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What earlier runs left."""

    info: DatasetInfo | None
    claim: Claim | None
    complete: tuple[FinishedShard, ...]  # of the last run that came to its end
    unfinished: tuple[FinishedShard, ...]  # of the runs after it

    def next_update(self, files_sha256: str) -> int:
        """Number of the update that a run makes; that of a run that was killed, if it can go on."""
        ended = [finished.shard.update for finished in self.complete]
        if self.info:
            ended.append(update_of(self.info))
        claim = self.claim
        if claim and claim.files_sha256 == files_sha256 and claim.update > max(ended, default=-1):
            return claim.update
        if not ended and not self.unfinished:
            return 0
        begun = [finished.shard.update for finished in self.unfinished]
        return max([*ended, *begun, claim.update if claim else 0]) + 1

    def before(self, update: int) -> list[FinishedShard]:
        """All shards that were made before an update."""
        return [*self.complete, *(f for f in self.unfinished if f.shard.update < update)]

    def labels(self, names: Iterable[str]) -> list[str]:
        """Names of the labels in the order of their ids: those of earlier shards keep theirs."""
        known = self.claim.labels if self.claim else ()
        known = known or (self.info.label_names if self.info else ())
        return [*known, *sorted(set(names) - set(known))]


def update_of(info: DatasetInfo) -> int:
    """Number of the last update; 0: there was none."""
    return int(info.source.get("update", 0))


@dataclasses.dataclass(frozen=True)
class Output:
    """The directory at `uri`."""

    uri: str

    @property
    def incomplete(self) -> str:
        """Directory of what is needed only until the job is complete."""
        return storage.join(self.uri, "incomplete")

    @property
    def rejected(self) -> str:
        """File that lists the rejected recordings and the skipped files."""
        return storage.join(self.uri, "rejected-00000-of-00001.jsonl")

    @property
    def _info(self) -> str:
        return storage.join(self.uri, DATASET_INFO)

    @property
    def _shards(self) -> str:
        return storage.join(self.uri, "shards.jsonl")

    @property
    def _sources(self) -> str:
        return storage.join(self.uri, SOURCES)

    @property
    def _claim(self) -> str:
        return storage.join(self.incomplete, "arguments.json")

    @property
    def _completing(self) -> str:
        return storage.join(self.incomplete, "completing")

    def check(self) -> None:
        """Refuse a URI that cannot be a directory, or files of others where we delete ours."""
        storage.check_uri(self.uri)
        if storage.is_file(self.uri):
            raise InputError(f"--output {self.uri!r} is a file; name a directory")
        for uri in storage.list_files(self.incomplete):
            name = (storage.intended_name(uri) or uri).removeprefix(self.incomplete + "/")
            if not _OURS_INCOMPLETE.fullmatch(name):
                raise InputError(
                    f"{uri} is not a file of this job, which deletes {self.incomplete} at its end; "
                    "move it, or choose another --output"
                )

    def clear(self) -> None:
        """Delete what earlier jobs left, and nothing else; the markers of completeness first."""
        storage.delete(self._info)
        storage.delete_tree(self.incomplete)
        storage.delete(*self._matching(_OURS), *self._temporary())

    def earlier(self, arguments: Mapping[str, Any]) -> Earlier:
        """Read what earlier runs left.

        Raises:
            InputError: they had other arguments, `dataset_info.json` is invalid, or there are
                shards without a record.
        """
        sizes = self._sizes()
        info = self._read_info() if DATASET_INFO in sizes else None
        claim = self._read_claim()
        if info:
            self._check_same(info.source, arguments)
        if claim:
            self._check_same(claim.arguments, arguments)
        if info is None and claim is None and (shards := self._matching(_SHARD)):
            raise InputError(
                f"{self.uri} holds shards such as {shards[0]!r} and no record of their arguments; "
                "choose another --output, or replace it with --overwrite"
            )
        return Earlier(
            info,
            claim,
            tuple(f for f in self._read_shards() if not f.is_listed or _is_whole(f, sizes)),
            tuple(f for f in self._read_summaries() if _is_whole(f, sizes)),
        )

    def _read_info(self) -> DatasetInfo:
        return parse_dataset_info(storage.read_text(self._info), self._info)

    def _read_claim(self) -> Claim | None:
        try:
            return Claim.parse(storage.read_text(self._claim))
        except (FileNotFoundError, ValueError):
            return None

    def _read_shards(self) -> Iterator[FinishedShard]:
        try:
            lines = storage.read_bytes(self._shards).splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            if finished := FinishedShard.parse_if_sound(line):
                yield finished

    def _read_summaries(self) -> Iterator[FinishedShard]:
        names = storage.list_names(self.incomplete, ".json")
        uris = [storage.join(self.incomplete, name) for name in names]
        for _, finished in read_finished([uri for uri in uris if uri != self._claim]):
            yield finished

    def claim(self, claim: Claim) -> None:
        """Record what the run makes, before its first shard."""
        storage.make_directory(self.incomplete)
        storage.write_text(self._claim, claim.dump())

    def summary_of(self, shard: Shard) -> str:
        """URI of the summary of a finished shard."""
        return storage.join(self.incomplete, shard.summary_name)

    def finished_of(self, shards: Iterable[Shard]) -> list[FinishedShard]:
        """Read what is finished of some shards."""
        return [finished for _, finished in read_finished(self._summaries_there(shards))]

    def forget(self, shards: Iterable[Shard]) -> None:
        """Delete the summaries of shards that are made again, lest they pass for the new ones."""
        storage.delete(*self._summaries_there(shards))

    def _summaries_there(self, shards: Iterable[Shard]) -> list[str]:
        there = set(storage.list_names(self.incomplete, ".json"))
        return [self.summary_of(shard) for shard in shards if shard.summary_name in there]

    def is_ours_to_complete(self, claim: Claim, share: Share) -> bool:
        """Take the right to complete the output; of several Pods that try, one gets it for good.

        A Pod that was killed while it had the right has it again. The one that completes the output
        deletes the right after `dataset_info.json` is there.
        """
        work = {"update": claim.update, "files_sha256": claim.files_sha256, "of": share.count}
        ours = json.dumps({**work, "index": share.index}).encode()
        return self._take(work, ours) and not self.leave_to_another(claim)

    def _take(self, work: Mapping[str, Any], ours: bytes) -> bool:
        if storage.swap(self._completing, None, ours):
            return True
        try:
            theirs = storage.read_bytes(self._completing)
        except FileNotFoundError:  # the output is complete
            return False
        if json.loads(theirs).items() >= work.items():
            return theirs == ours
        return storage.swap(self._completing, theirs, ours)  # of a run before this one

    def leave_to_another(self, claim: Claim) -> bool:
        """Delete what this Pod added after another completed the output; return whether one did."""
        if not storage.exists(self._info) or update_of(self._read_info()) < claim.update:
            return False
        if self._read_claim() in (None, claim):  # not of a run after this one
            storage.delete_tree(self.incomplete)
        return True

    def write_rejected(self, rejections: Iterable[Rejection]) -> None:
        """Write a line per recording that is rejected, or file that is skipped."""
        lines = [json.dumps(dataclasses.asdict(rejection)) + "\n" for rejection in rejections]
        storage.write_text(self.rejected, "".join(lines))

    def complete(self, info: DatasetInfo, shards: Sequence[FinishedShard]) -> None:
        """Write what a complete directory holds, `dataset_info.json` last."""
        storage.write_text(self._shards, "".join(f"{finished.dump()}\n" for finished in shards))
        write_sources(self._sources, sources_of(shards))
        storage.write_text(self._info, dump_dataset_info(info))

    def clean_up(self, info: DatasetInfo) -> None:
        """Remove what was needed only until the directory was complete, or before an update."""
        used = {name for part in info.partitions.values() for name in part.shard_names()}
        there = self._matching(_SHARD)
        gone = [uri for uri in there if uri.removeprefix(self.uri + "/") not in used]
        storage.delete(*self._temporary(), *gone)
        storage.delete_tree(self.incomplete)

    def _check_same(self, stored: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
        """Refuse to mix the results of different arguments."""
        if different := describe_differences(
            {name: stored.get(name) for name in requested}, requested
        ):
            raise InputError(
                f"{self.uri} was made with other arguments: {different}; "
                "choose another --output, or replace it with --overwrite"
            )

    def _sizes(self) -> dict[str, int]:
        """Bytes of each file directly in the directory; other datasets may be below it."""
        sizes = storage.list_sizes(self.uri)
        names = ((uri.removeprefix(self.uri).removeprefix("/"), uri) for uri in sizes)
        return {name: sizes[uri] for name, uri in names if "/" not in name}

    def _matching(self, names: re.Pattern[str]) -> list[str]:
        return [storage.join(self.uri, name) for name in self._sizes() if names.fullmatch(name)]

    def _temporary(self) -> list[str]:
        """Files that a killed launcher left; workers write only below ``incomplete/``."""
        ours = (self._info, self.rejected, self._shards, self._sources)
        there = (storage.join(self.uri, name) for name in self._sizes())
        return [uri for uri in there if storage.intended_name(uri) in ours]


def _is_whole(finished: FinishedShard, sizes: Mapping[str, int]) -> bool:
    """Whether the shard's file is there as it was written."""
    return sizes.get(finished.shard.name) == finished.summary.bytes_written
