"""Checks of the features before a run starts: shards, fingerprint, something to train on."""

from collections.abc import Sequence

from beam_features.schema.silence import is_audible
from dem import storage
from dem.errors import InputError
from trainer.data.features import Features, all_strips
from trainer.data.shards import CorruptRecords


def require_shards(features: Features, partitions: Sequence[str]) -> None:
    """Raise an InputError unless all shards of the partitions are there."""
    existing = set(storage.list_names(features.uri, ".tfrecord"))
    for uri in features.shard_uris(partitions):
        if uri.rpartition("/")[2] not in existing:
            raise InputError(f"{uri} does not exist; copy it there or make the features again")


def require_audible(features: Features, partitions: Sequence[str], corrupt: CorruptRecords) -> None:
    """Raise an InputError if the partitions hold no audible tile."""
    for strip in all_strips(features, partitions, corrupt):
        if is_audible(strip.log_mel, features.info.feature_spec).any():
            return
    raise InputError(
        f"{', '.join(partitions)} of {features.uri} hold no audible tile; choose other "
        "validation_partitions, or [] for none"
    )


def check_fingerprint(expected: str, features: Features) -> None:
    """Raise an InputError if features and model have different feature settings."""
    actual = features.info.fingerprint
    if expected != actual:
        raise InputError(
            f"the model is for features of fingerprint {expected[:12]}, but {features.uri} has "
            f"{actual[:12]}; use features made with the same settings"
        )
