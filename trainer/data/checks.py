"""Checks of the features before a run starts: shards, fingerprint, something to train on."""

from collections.abc import Collection, Sequence

from beam_features.schema.silence import is_audible
from dem import storage
from dem.errors import InputError
from trainer.data.features import Features, all_strips
from trainer.data.pairs import side_by_side
from trainer.data.shards import CorruptRecords


def require_shards(features: Features, partitions: Sequence[str]) -> None:
    """Raise an InputError unless all shards of the partitions are there."""
    existing = set(storage.list_names(features.uri, ".tfrecord"))
    for uri in features.shard_uris(partitions):
        if uri.rpartition("/")[2] not in existing:
            raise InputError(f"{uri} does not exist; copy it there or make the features again")


def require_pairs(
    features: Features,
    partitions: Sequence[str],
    positives: Collection[str],
    corrupt: CorruptRecords,
) -> None:
    """Raise an InputError unless the partitions hold pairs of the kinds in `positives`.

    A triplet needs two audible sessions; positives at sensors need a session that two sensors
    recorded. Reading stops when both are found.
    """
    spec = features.info.feature_spec
    audible: set[str] = set()
    two_sensors = "sensor" not in positives
    for group in side_by_side(all_strips(features, partitions, corrupt)):
        audible |= {strip.session_id for strip in group if is_audible(strip.log_mel, spec).any()}
        two_sensors |= len({strip.sensor_id for strip in group}) > 1
        if len(audible) > 1 and two_sensors:
            return
    names = f"{', '.join(partitions)} in {features.uri}"
    if len(audible) < 2:
        raise InputError(
            f"{len(audible)} sessions of {names} are audible, but a triplet needs two; choose "
            "other train_partitions"
        )
    raise InputError(
        f"no session of {names} was recorded by two sensors at the same time; set "
        "positives=[time], or make features with channels=all from recordings of several channels"
    )


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
