"""A finished features directory."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beam_features.schema.dataset_info import DATASET_INFO, DatasetInfo, parse_dataset_info
from beam_features.schema.strip import Strip
from dem import storage
from dem.errors import InputError
from trainer.data.shards import CorruptRecords, read_strips


@dataclass(frozen=True)
class Features:
    """A finished features directory."""

    uri: str
    info: DatasetInfo

    def shard_uris(self, partitions: Sequence[str]) -> list[str]:
        """URIs of all shards of the partitions, in order.

        Raises:
            InputError: there is no such partition.
        """
        for name in partitions:
            if name not in self.info.partitions:
                known = ", ".join(self.info.partitions)
                raise InputError(f"no partition {name!r} in {self.uri}; it has: {known}")
        return [
            storage.join(self.uri, shard)
            for name in partitions
            for shard in self.info.partitions[name].shard_names()
        ]

    def digest(self, partition: str) -> str:
        """Digest that identifies a partition's tiles and labels without reading them."""
        info = self.info
        found = storage.file_versions(self.shard_uris([partition]))
        versions = [file.version for file in found.values()]
        content = [info.content_sha256, info.fingerprint, info.label_names, versions]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def open_features(uri: str) -> Features:
    """Open a features directory.

    Raises:
        InputError: it does not exist, or the job that makes it has not finished.
    """
    info_uri = storage.join(uri, DATASET_INFO)
    try:
        text = storage.read_text(info_uri)
    except FileNotFoundError as error:
        raise InputError(
            f"{info_uri} does not exist: {uri!r} holds no finished features; make them with "
            "python -m beam_features"
        ) from error
    return Features(uri.rstrip("/"), parse_dataset_info(text, info_uri))


def all_strips(
    features: Features, partitions: Sequence[str], corrupt: CorruptRecords
) -> Iterator[Strip]:
    """All strips of the partitions, in the order of the shards."""
    for uri in features.shard_uris(partitions):
        yield from read_strips(uri, features.info.feature_spec.tile_shape, corrupt)
