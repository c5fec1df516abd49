"""The job directory: what lies where in it, and whose it is."""

import dataclasses
from typing import Any

import yaml

from beam_features.schema.access import named_by_user
from beam_features.schema.errors import InputError
from beam_features.schema.settings import as_yaml_values, build_settings, describe_differences
from trainer import storage
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data import Features
from trainer.encoders import check_encoder

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
LOGS = "logs"
EXPORT = "export"
ENCODER = "export/encoder.keras"
SAVED_MODEL = "export/saved_model"
TRAINING_RECORDINGS = "export/training_recordings.parquet"
METRICS = "metrics.json"
CLASSIFIER = "classifier"


def resolve_config(config: TrainConfig, features: Features) -> ResolvedConfig:
    """Fill in what the data decide: partitions, steps per epoch, fingerprint.

    Raises:
        InputError: the encoder or a partition does not exist, there are too few tiles to train on,
            or the settings are for features of another fingerprint.
    """
    info = features.info
    check_encoder(config.architecture, info.feature_spec.tile_shape)
    check_fingerprint(config.fingerprint or info.fingerprint, features)
    roles = info.default_partitions()
    partitions = {}
    for role in ("train", "validation", "test"):
        asked = getattr(config, f"{role}_partitions")
        partitions[f"{role}_partitions"] = tuple(roles[role] if asked is None else asked)
        features.shard_uris(partitions[f"{role}_partitions"])  # raises where there is no such one
    if config.content_sha256 not in (None, info.content_sha256):
        raise InputError(
            f"the settings are for other data than {features.uri}; use the data that they were "
            "made with, or remove content_sha256 from them"
        )
    if config.neighbourhood_s < info.feature_spec.tile_s:
        raise InputError(
            f"neighbourhood_s={config.neighbourhood_s} is shorter than a tile of "
            f"{info.feature_spec.tile_s} s; raise it"
        )
    names = partitions["train_partitions"]
    tiles = sum(info.partitions[name].tiles for name in names)
    if tiles < config.batch_size:
        raise InputError(
            f"batch_size={config.batch_size}, but the train_partitions ({', '.join(names)}) hold "
            f"{tiles} tiles; lower batch_size or choose others"
        )
    steps_per_epoch = config.steps_per_epoch or tiles // config.batch_size
    total_steps = config.epochs * steps_per_epoch
    if config.warmup_steps >= total_steps:
        raise InputError(
            f"warmup_steps={config.warmup_steps}, but the run has {total_steps} steps; lower "
            "warmup_steps or raise epochs"
        )
    filled_in = {
        "steps_per_epoch": steps_per_epoch,
        "fingerprint": info.fingerprint,
        "content_sha256": info.content_sha256,
    }
    return build_settings(ResolvedConfig, dataclasses.asdict(config) | partitions | filled_in)


def check_fingerprint(expected: str, features: Features) -> None:
    """Refuse features that were made with other feature settings than the model's."""
    there = features.info.fingerprint
    if expected != there:
        raise InputError(
            f"the model is for features of fingerprint {expected[:12]}, but {features.uri} has "
            f"{there[:12]}; use features made with the same settings"
        )


def claim_job_dir(job_dir: str, config: ResolvedConfig) -> None:
    """Write the resolved settings.

    Raises:
        InputError: the directory is that of a run with other settings, or storage refuses it.
    """
    check_job_dir(job_dir, config)
    uri = storage.join(job_dir, CONFIG)
    with named_by_user():
        if not storage.exists(uri):
            storage.write_text(uri, yaml.safe_dump(_as_values(config), sort_keys=False))


def check_job_dir(job_dir: str, config: ResolvedConfig) -> None:
    """Raise an InputError where the directory is that of a run with other settings."""
    uri = storage.join(job_dir, CONFIG)
    with named_by_user():
        if not storage.exists(uri):
            return
    values = _as_values(config)
    # A run that spent its budget may go on with a higher one: it is no part of what is learned.
    any_budget = {"corrupt_records_budget": values["corrupt_records_budget"]}
    there = _as_values(read_job_config(job_dir))  # with the defaults of keys that are newer
    different = describe_differences(there | any_budget, values)
    if different:
        raise InputError(
            f"{job_dir} was made with other settings: {different}; choose another --job-dir"
        )


def _as_values(config: ResolvedConfig) -> dict[str, Any]:
    return as_yaml_values(dataclasses.asdict(config))


def read_job_config(job_dir: str) -> ResolvedConfig:
    """Read the settings of a run.

    Raises:
        InputError: there is no run in the directory.
    """
    uri = storage.join(job_dir, CONFIG)
    try:
        with named_by_user():
            values = yaml.safe_load(storage.read_text(uri))
    except FileNotFoundError as error:
        raise InputError(
            f"{uri} does not exist: {job_dir!r} holds no training run; start one with "
            "python -m trainer.train"
        ) from error
    return build_settings(ResolvedConfig, values)
