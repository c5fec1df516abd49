"""`dataset_info.json`: what a features directory holds; its presence marks it as complete."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import LOG_MEL_DTYPE, SCHEMA_VERSION
from dem.errors import InputError

DATASET_INFO = "dataset_info.json"


@dataclass(frozen=True)
class Moments:
    """Per mel bin: count, sum and sum of squares of the values; moments of unions are sums."""

    count: int
    sum: tuple[float, ...]
    sum_of_squares: tuple[float, ...]

    @classmethod
    def of(cls, log_mel: npt.NDArray[np.floating]) -> "Moments":
        """Compute the moments of tiles ``[..., n_mels]`` after rounding to the record's type."""
        values = log_mel.astype(LOG_MEL_DTYPE).astype(np.float64).reshape(-1, log_mel.shape[-1])
        return cls(
            len(values),
            tuple(values.sum(axis=0).tolist()),
            tuple(np.square(values).sum(axis=0).tolist()),
        )

    @classmethod
    def total(cls, parts: Iterable["Moments"], n_mels: int) -> "Moments":
        """Return the moments of the union of disjoint parts."""
        parts = list(parts)
        zero = np.zeros(n_mels)
        return cls(
            sum(part.count for part in parts),
            tuple(sum((np.array(part.sum) for part in parts), zero).tolist()),
            tuple(sum((np.array(part.sum_of_squares) for part in parts), zero).tolist()),
        )

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean per mel bin ``[n_mels]``; zero if the count is zero."""
        return np.array(self.sum) / max(self.count, 1)

    @property
    def variance(self) -> npt.NDArray[np.float64]:
        """Population variance per mel bin ``[n_mels]``."""
        mean_of_squares = np.array(self.sum_of_squares) / max(self.count, 1)
        return np.maximum(mean_of_squares - np.square(self.mean), 0.0)


@dataclass(frozen=True)
class Partition:
    """A named disjoint part of the dataset."""

    shards: str  # pattern such as "train-*-of-00004.tfrecord"
    n_shards: int
    strips: int
    tiles: int
    recordings: int
    seconds: float
    moments: Moments
    silent: int = 0  # recordings without an audible tile; they are kept, as are the next two
    cancelled: int = 0  # recordings whose channels cancel in their mean
    duplicates: int = 0  # recordings that hold the samples of another one, which is not counted
    names: tuple[str, ...] | None = None  # of the shards, where an update has left no pattern

    def shard_names(self) -> list[str]:
        """File names of all shards, in order."""
        if self.names is not None:
            return list(self.names)
        return [self.shards.replace("*", f"{shard:05d}") for shard in range(self.n_shards)]


@dataclass(frozen=True)
class DatasetInfo:
    """Everything that a reader needs before it opens a shard."""

    schema_version: int
    feature_spec: FeatureSpec
    fingerprint: str
    label_names: tuple[str, ...]
    partitions: Mapping[str, Partition]
    rejected: Mapping[str, int]  # by reason
    source: Mapping[str, Any]  # dataset and arguments
    versions: Mapping[str, str]  # of the packages that computed it
    remarks: tuple[str, ...] = ()  # lines to print, with names of silent recordings and the like

    @property
    def content_sha256(self) -> str:
        """Digest of the partitions' shards, counts and moments; independent of their location.

        Job directories hold it, so counts that came later are left out.
        """
        content = TypeAdapter(Mapping[str, Partition]).dump_json(
            self.partitions, exclude={"__all__": {"cancelled", "duplicates"}}, exclude_none=True
        )
        return hashlib.sha256(content).hexdigest()

    def moments(self, partitions: Sequence[str]) -> Moments:
        """Moments of the union of the named partitions."""
        parts = [self.partitions[name].moments for name in partitions]
        return Moments.total(parts, self.feature_spec.n_mels)

    def default_partitions(self) -> dict[str, list[str]]:
        """Return the default partitions for train, validation and test.

        Partitions with these names have that role; of n folds the last is for test and the last but
        one for validation.
        """
        names = self.partitions
        folds = sorted(
            (name for name in names if re.fullmatch(r"fold\d+", name)), key=lambda f: int(f[4:])
        )
        if "train" not in names and len(folds) >= 3:
            return {"train": folds[:-2], "validation": folds[-2:-1], "test": folds[-1:]}
        return {role: [role] if role in names else [] for role in ("train", "validation", "test")}


def dump_dataset_info(info: DatasetInfo) -> str:
    """Serialise to indented JSON; floats round-trip exactly."""
    return TypeAdapter(DatasetInfo).dump_json(info, indent=2).decode() + "\n"


def parse_dataset_info(text: str, origin: str) -> DatasetInfo:
    """Parse what `dump_dataset_info` returned.

    Raises:
        InputError: `origin` is not such a file, has another schema version, or its fingerprint does
            not match its feature spec (it was edited).
    """
    try:
        info = TypeAdapter(DatasetInfo).validate_json(text)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise InputError(
            f"{origin} is not a dataset_info.json: {where}: {fault['msg']}; "
            "make the features again with python -m beam_features"
        ) from error
    if info.schema_version != SCHEMA_VERSION:
        raise InputError(
            f"{origin} has schema version {info.schema_version}, expected {SCHEMA_VERSION}; "
            "make the features again"
        )
    if info.fingerprint != info.feature_spec.fingerprint:
        raise InputError(
            f"{origin}: fingerprint {info.fingerprint[:12]} does not match its feature_spec, "
            f"{info.feature_spec.fingerprint[:12]}; make the features again"
        )
    return info
