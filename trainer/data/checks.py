"""What is refused before a run starts: missing shards, other features, nothing to train on."""

from collections.abc import Collection, Sequence

from dem import storage
from dem.errors import InputError
from trainer.data.features import Features, all_strips
from trainer.data.pairs import side_by_side
from trainer.data.shards import CorruptRecords


def require_shards(features: Features, partitions: Sequence[str]) -> None:
    """Raise an InputError unless all shards of the partitions are there."""
    there = set(storage.list_names(features.uri, ".tfrecord"))
    for uri in features.shard_uris(partitions):
        if uri.rpartition("/")[2] not in there:
            raise InputError(f"{uri} does not exist; copy it there or make the features again")


def require_pairs(
    features: Features,
    partitions: Sequence[str],
    positives: Collection[str],
    corrupt: CorruptRecords,
) -> None:
    """Raise an InputError unless the partitions hold pairs of the kinds in `positives`.

    That is two sessions that are heard, since else there is no triplet, and for positives at
    sensors a moment of two. Reading ends when both are found.
    """
    heard: set[str] = set()
    two_sensors = "sensor" not in positives
    for group in side_by_side(all_strips(features, partitions, corrupt)):
        heard |= {strip.session_id for strip in group if strip.log_mel.max() > features.silence}
        two_sensors |= len({strip.sensor_id for strip in group}) > 1
        if len(heard) > 1 and two_sensors:
            return
    names = f"{', '.join(partitions)} in {features.uri}"
    if len(heard) < 2:
        raise InputError(
            f"{len(heard)} sessions of {names} are not silent; a triplet needs two: choose other "
            "train_partitions"
        )
    raise InputError(
        f"no session of {names} was heard by two sensors at a time; set positives=[time], or make "
        "features that have them, with this version and, of several channels, channels=all"
    )


def require_audible(features: Features, partitions: Sequence[str], corrupt: CorruptRecords) -> None:
    """Raise an InputError where all tiles of the partitions are silent, or there are none."""
    for strip in all_strips(features, partitions, corrupt):
        if strip.log_mel.max() > features.silence:
            return
    raise InputError(
        f"nothing in {', '.join(partitions)} of {features.uri} can be heard; choose other "
        "validation_partitions, or [] for none"
    )


def check_fingerprint(expected: str, features: Features) -> None:
    """Refuse features that were made with other feature settings than the model's."""
    there = features.info.fingerprint
    if expected != there:
        raise InputError(
            f"the model is for features of fingerprint {expected[:12]}, but {features.uri} has "
            f"{there[:12]}; use features made with the same settings"
        )
