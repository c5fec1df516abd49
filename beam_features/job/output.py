"""The output directory: what it holds while the job runs, and whether a new run may use it.

While the job runs, ``OUTPUT/incomplete/`` holds the arguments, a summary per finished shard and the
directory of the attempt. `dataset_info.json` is written once all shards exist; then ``incomplete/``
is deleted.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from beam_features.job.plan import Shard
from beam_features.job.shard_writer import ShardSummary
from beam_features.recording import Rejection
from beam_features.schema.dataset_info import (
    DATASET_INFO,
    DatasetInfo,
    dump_dataset_info,
    parse_dataset_info,
)
from dem import storage
from dem.errors import InputError
from dem.settings import describe_differences

_SHARD = re.compile(r"[^/]+-\d{5}-of-\d{5}\.tfrecord")
_OURS = re.compile(rf"{_SHARD.pattern}|rejected-\d{{5}}-of-\d{{5}}\.jsonl")


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
    def _arguments(self) -> str:
        return storage.join(self.incomplete, "arguments.json")

    def check(self) -> None:
        """Refuse a URI that cannot be a directory."""
        storage.check_uri(self.uri)
        if storage.is_file(self.uri):
            raise InputError(f"--output {self.uri!r} is a file; name a directory")

    def clear(self) -> None:
        """Delete what earlier jobs left, and nothing else; the markers of completeness first."""
        storage.delete(self._info)
        storage.delete_tree(self.incomplete)
        storage.delete(*self._matching(_OURS), *self._temporary())

    def finished(self, arguments: Mapping[str, Any]) -> DatasetInfo | None:
        """Return what the directory holds if it is complete.

        Raises:
            InputError: it was made with other arguments, or its `dataset_info.json` is invalid.
        """
        if not storage.is_file(self._info):
            return None
        info = parse_dataset_info(storage.read_text(self._info), self._info)
        self._check_same(info.source, arguments)
        storage.delete_tree(self.incomplete)
        return info

    def claim(self, arguments: Mapping[str, Any]) -> None:
        """Record the arguments before the first shard, or resume a run that had the same.

        Raises:
            InputError: an earlier run had other arguments, or there are shards without a record.
        """
        if storage.is_file(self._arguments):
            self._check_same(json.loads(storage.read_text(self._arguments)), arguments)
            return
        if shards := self._matching(_SHARD):
            raise InputError(
                f"{self.uri} holds shards such as {shards[0]!r} and no record of their arguments; "
                "choose another --output, or replace it with --overwrite"
            )
        storage.make_directory(self.incomplete)
        storage.write_text(self._arguments, json.dumps(arguments, indent=2))

    def summary_of(self, shard: Shard) -> str:
        """URI of the summary of a finished shard."""
        return storage.join(self.incomplete, shard.summary_name)

    def has(self, shard: Shard) -> bool:
        """Whether a shard need not be made again: recordings that could not be read are retried."""
        if not storage.is_file(self.summary_of(shard)):
            return False
        if not storage.is_file(storage.join(self.uri, shard.name)):
            return False
        return all(rejection.stage != "read" for rejection in self.read_summary(shard).rejections)

    def read_summary(self, shard: Shard) -> ShardSummary:
        """Read the summary of a finished shard."""
        return ShardSummary.parse(storage.read_text(self.summary_of(shard)))

    def write_rejected(self, rejections: Iterable[Rejection]) -> None:
        """Write a line per recording that is rejected, or file that is skipped."""
        lines = [json.dumps(dataclasses.asdict(rejection)) + "\n" for rejection in rejections]
        storage.write_text(self.rejected, "".join(lines))

    def complete(self, info: DatasetInfo) -> None:
        """Write `dataset_info.json`, and remove what was needed only until then."""
        storage.delete(*self._temporary())
        storage.write_text(self._info, dump_dataset_info(info))
        storage.delete_tree(self.incomplete)

    def _check_same(self, stored: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
        """Refuse to mix the results of different arguments."""
        if different := describe_differences(stored, requested):
            raise InputError(
                f"{self.uri} was made with other arguments: {different}; "
                "choose another --output, or replace it with --overwrite"
            )

    def _matching(self, names: re.Pattern[str]) -> list[str]:
        """Files directly in the directory; other datasets may be below it."""
        uris = storage.list_files(self.uri)
        return [uri for uri in uris if names.fullmatch(uri.removeprefix(self.uri + "/"))]

    def _temporary(self) -> list[str]:
        """Files that a killed launcher left; workers write only below ``incomplete/``."""
        ours = (self._info, self.rejected)
        return [uri for uri in storage.list_files(self.uri) if storage.intended_name(uri) in ours]
