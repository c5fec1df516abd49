"""A share of the plan, for Jobs whose Pods work without an engine: every n-th shard."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from dem.errors import InputError

INDEX, COUNT = "JOB_COMPLETION_INDEX", "DEM_SHARD_COUNT"
"""Environment variables; Kubernetes sets the first in Jobs with ``completionMode: Indexed``."""

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """Share `index` of `count` equal ones, from 0."""

    index: int
    count: int

    def of(self, planned: Sequence[T]) -> Sequence[T]:
        """Those that are `index` modulo `count`."""
        return planned[self.index :: self.count]

    def __str__(self) -> str:
        return f"{self.index} of {self.count}"


def share_of(index: int | None, count: int | None, environment: Mapping[str, str]) -> Share | None:
    """The share that the options name, or else the environment; None: everything.

    Without a count the index of a Pod means nothing: any Indexed Job sets it.

    Raises:
        InputError: only one of them is known, or it is no share.
    """
    if count is None and COUNT in environment:
        count = _number(COUNT, environment[COUNT])
    if count is None:
        if index is not None:
            raise InputError(f"--shard-index {index} needs --shard-count, or {COUNT}")
        return None
    if index is None and INDEX not in environment:
        raise InputError(f"--shard-count {count} needs --shard-index, or {INDEX}")
    if index is None:
        index = _number(INDEX, environment[INDEX])
    if not 0 <= index < count:
        raise InputError(f"--shard-index must be 0 to --shard-count - 1, not {index} of {count}")
    return Share(index, count)


def _number(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise InputError(f"{name} must be a whole number, not {value!r}") from error
