"""The job directory: what lies where in it, and whose it is."""

import dataclasses
from typing import Any

import yaml

from dem import storage
from dem.errors import InputError
from dem.settings import as_yaml_values, build_settings, describe_differences
from trainer.config import ResolvedConfig

CONFIG = "config.yaml"
CHECKPOINTS = "checkpoints"
LOGS = "logs"
EXPORT = "export"
ENCODER = "export/encoder.keras"
SAVED_MODEL = "export/saved_model"
TRAINING_RECORDINGS = "export/training_recordings.parquet"
INITIAL = "init/encoder.keras"
INITIAL_RECORDINGS = "init/training_recordings.parquet"
METRICS = "metrics.json"
CLASSIFIER = "classifier"
VECTORS = "vectors"
OTHER_FEATURES = "the features are others, or have changed since; "
"""Part of an error: what another content_sha256 means."""

_MAY_DIFFER = ("corrupt_records_budget", "checkpoint_every_s")  # they do not change what is learned


def claim_job_dir(job_dir: str, config: ResolvedConfig) -> None:
    """Write the resolved settings; a run that more epochs extend is no longer finished.

    Raises:
        InputError: the directory is that of a run with other settings, or storage refuses it.
    """
    check_job_dir(job_dir, config)
    there = _read_config(job_dir)
    if there is None or there.epochs < config.epochs:
        storage.delete(storage.join(job_dir, METRICS))
        text = yaml.safe_dump(_as_values(config), sort_keys=False)
        storage.write_text(storage.join(job_dir, CONFIG), text)


def check_job_dir(job_dir: str, config: ResolvedConfig, *, may_extend: bool = True) -> None:
    """Raise an InputError where the directory is that of a run with other settings.

    Args:
        job_dir: the directory.
        config: the settings of the run that is to start or resume.
        may_extend: accept more epochs than those of the run in the directory.
    """
    stored = _read_config(job_dir)  # with the defaults of keys that are newer
    if stored is None:
        return
    accepted: dict[str, Any] = {key: getattr(config, key) for key in _MAY_DIFFER}
    if may_extend:
        accepted["epochs"] = max(stored.epochs, config.epochs)
    different = describe_differences(_as_values(stored) | accepted, _as_values(config))
    if different:
        other_data = stored.content_sha256 != config.content_sha256
        hint = "; epochs can be raised, not lowered" if config.epochs < stored.epochs else ""
        raise InputError(
            f"{job_dir} was made with other settings: {different}{hint}; "
            f"{OTHER_FEATURES if other_data else ''}choose another --job-dir"
        )


def _read_config(job_dir: str) -> ResolvedConfig | None:
    exists = storage.exists(storage.join(job_dir, CONFIG))
    return read_job_config(job_dir) if exists else None


def _as_values(config: ResolvedConfig) -> dict[str, Any]:
    return as_yaml_values(dataclasses.asdict(config))


def read_job_config(job_dir: str) -> ResolvedConfig:
    """Read the settings of a run.

    Raises:
        InputError: there is no run in the directory, or one of another kind.
    """
    uri = storage.join(job_dir, CONFIG)
    try:
        values = yaml.safe_load(storage.read_text(uri))
    except FileNotFoundError as error:
        raise InputError(
            f"{uri} does not exist: {job_dir!r} holds no training run; start one with "
            "python -m trainer.train"
        ) from error
    if "encoder" not in values:
        raise InputError(
            f"{uri} is not of a training; give the directory of one, such as that of a trial, "
            "SEARCH/trials/0"
        )
    return build_settings(ResolvedConfig, values)
