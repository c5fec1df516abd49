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
METRICS = "metrics.json"
CLASSIFIER = "classifier"
VECTORS = "vectors"
OTHER_FEATURES = "the features are others, or have changed since; "
"""Part of an error: what another content_sha256 means."""


def claim_job_dir(job_dir: str, config: ResolvedConfig) -> None:
    """Write the resolved settings.

    Raises:
        InputError: the directory is that of a run with other settings, or storage refuses it.
    """
    check_job_dir(job_dir, config)
    uri = storage.join(job_dir, CONFIG)
    if not storage.exists(uri):
        storage.write_text(uri, yaml.safe_dump(_as_values(config), sort_keys=False))


def check_job_dir(job_dir: str, config: ResolvedConfig) -> None:
    """Raise an InputError where the directory is that of a run with other settings."""
    uri = storage.join(job_dir, CONFIG)
    if not storage.exists(uri):
        return
    values = _as_values(config)
    # A run may be resumed with a higher budget: it does not change what is learned.
    any_budget = {"corrupt_records_budget": values["corrupt_records_budget"]}
    there = _as_values(read_job_config(job_dir))  # with the defaults of keys that are newer
    different = describe_differences(there | any_budget, values)
    if different:
        other_data = there["content_sha256"] != values["content_sha256"]
        raise InputError(
            f"{job_dir} was made with other settings: {different}; "
            f"{OTHER_FEATURES if other_data else ''}choose another --job-dir"
        )


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
