"""The job directory of a search: the settings it belongs to, and whether the search is done."""

import dataclasses
import json
from typing import Any

import yaml

from dem import storage
from dem.errors import InputError
from dem.settings import as_yaml_values, describe_differences
from trainer.data.features import Features
from trainer.runtime.job_dir import CONFIG, METRICS, OTHER_FEATURES
from tuning.config import TuneConfig
from tuning.space import Space

TRIALS = "trials"
"""Directory of the job directories of trials."""

_MAY_DIFFER = ("trials", "worker_deadline_s", "abandon_after_s")  # when a search is resumed


def claim(job_dir: str, config: TuneConfig, space: Space, features: Features) -> bool:
    """Write the settings into the directory; return whether the search is done already.

    Raises:
        InputError: the directory belongs to another search, or to something else.
    """
    uri = storage.join(job_dir, CONFIG)
    values = _settings(config, space, features)
    if storage.exists(uri):
        stored = yaml.safe_load(storage.read_text(uri))
        if "algorithm" not in stored:
            raise InputError(f"{job_dir} holds a training, not a search; choose another --job-dir")
        accepted = {key: values[key] for key in _MAY_DIFFER}
        different = describe_differences(stored | accepted, values)
        if different:
            other_data = stored["content_sha256"] != values["content_sha256"]
            raise InputError(
                f"{job_dir} was made with other settings: {different}; "
                f"{OTHER_FEATURES if other_data else ''}choose another --job-dir"
            )
        if is_done(job_dir, config.trials):
            return True
        storage.delete(storage.join(job_dir, METRICS))  # there are more trials to run
    storage.write_text(uri, yaml.safe_dump(values, sort_keys=False))
    return False


def is_done(job_dir: str, trials: int | None) -> bool:
    """Return whether a search for this number of trials has ended in the directory."""
    if not storage.exists(storage.join(job_dir, METRICS)):
        return False
    stored = yaml.safe_load(storage.read_text(storage.join(job_dir, CONFIG)))
    return bool(stored["trials"] == trials)


def _settings(config: TuneConfig, space: Space, features: Features) -> dict[str, Any]:
    """All values that determine a search, as YAML reads them."""
    settings = dataclasses.asdict(config) | {
        "fingerprint": features.info.fingerprint,
        "content_sha256": features.info.content_sha256,
    }
    del settings["space"]
    for key, value in space.fixed.items():
        settings[f"space.{key}"] = value
    for key, domain in space.searched.items():
        settings[f"space.{key}"] = json.dumps(dataclasses.asdict(domain))
    return as_yaml_values(settings)
