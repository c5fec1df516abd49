"""A search from settings to a finished job directory; killed, it goes on where it was."""

import dataclasses
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import yaml

from dem import storage
from dem.errors import InputError, JobError, Terminated
from dem.settings import as_yaml_values, build_settings, describe_differences
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.runtime.job_dir import CONFIG, METRICS
from trainer.train.resolve import resolve_config
from tuning.config import TuneConfig
from tuning.results.table import Results
from tuning.search.messages import Leave, Outcome, Worker
from tuning.search.oracle import build_oracle
from tuning.search.state import Search
from tuning.space import Space, read_space
from tuning.workers.local import LocalSearch
from tuning.workers.loop import work
from tuning.workers.role import Role, new_instance
from tuning.workers.rpc import Chief, RemoteSearch

_LOG = logging.getLogger(__name__)

_LOOK_S = 0.5
_MAY_DIFFER = ("trials", "worker_deadline_s", "abandon_after_s")  # of a search that goes on


def tune(
    data: str, job_dir: str, config: TuneConfig, role: Role, terminated: Callable[[], bool]
) -> None:
    """Search, alone or as chief or worker, and print the summary (not as a worker).

    Args:
        data: features directory.
        job_dir: where trials and results go; chief and workers share it.
        config: the settings.
        role: what this process does.
        terminated: whether it is asked to stop.

    Raises:
        InputError: the space or the data do not fit, or the directory is another search's.
        JobError: no trial has completed, an error in a program ended the search, or the others
            are gone.
        Terminated: `terminated()` was true; the state is saved.
    """
    tf.config.set_visible_devices([], "GPU")  # they are for the trials, which are other processes
    features = open_features(data)
    space = read_space(config.space)
    _check(config, space, features)
    oracle = build_oracle(config, space)
    if role.kind == "worker":  # it refuses by itself what the chief does, and need not wait for it
        _be_worker(data, job_dir, config, role, terminated)
        return
    if _claim(job_dir, config, space, features):
        _LOG.info(f"{job_dir} is finished already, nothing to do")
    info = features.info
    data_pins = {"fingerprint": info.fingerprint, "content_sha256": info.content_sha256}
    search = Search(config, space, oracle, job_dir, data_pins)
    results = Results(job_dir, config, space, search, features)
    if not _is_done(job_dir):
        if search.outcomes:
            _LOG.info(f"going on after {len(search.outcomes)} trials")
        results.log_space()
        watch = _Watch(config, search, results, set(search.outcomes))
        if role.kind == "chief":
            _be_chief(role, watch, terminated)
        else:
            source = LocalSearch(search, watch.tell_of_ended_trials)
            work(source, data, job_dir, role.kind, terminated)
            results.finish()
    print(results.summary(), flush=True)


@dataclasses.dataclass(frozen=True)
class _Watch:
    """Tells of what happens in a search, and keeps its files up to date."""

    config: TuneConfig
    search: Search
    results: Results
    told: set[str]  # trials whose end is known

    def tell_of_ended_trials(self) -> None:
        """Tell how trials have ended since the last time."""
        outcomes = self.search.outcomes
        ended = [trial_id for trial_id in outcomes if trial_id not in self.told]
        if ended:
            self.results.write()
        for trial_id in ended:
            self.told.add(trial_id)
            self._tell(trial_id, outcomes[trial_id])

    def _tell(self, trial_id: str, outcome: Outcome) -> None:
        best = self.results.best()
        ended, most = len(self.told), self.config.most_trials
        value = "" if outcome.value is None else f"  {self.config.objective} {outcome.value:.4f}"
        reason = f"  ({outcome.reason})" if outcome.reason else ""
        record = f"  best: trial {best}" if best else ""
        of = f" of {most}" if most else ""
        _LOG.info(f"trial {trial_id} {outcome.status}{value}{reason}  {ended}{of} trials{record}")


def _be_chief(role: Role, watch: _Watch, terminated: Callable[[], bool]) -> None:
    """Answer workers until the search is over and they have left, or are given up."""
    search, config = watch.search, watch.config
    chief = Chief(search, role.address)
    _LOG.info(f"chief at {role.address}, waiting for workers")
    try:
        while not (search.over or search.fatal):
            time.sleep(_LOOK_S)
            for tuner_id, trial_id in search.reap().items():
                _LOG.warning(
                    f"worker {tuner_id} is not heard from; its trial {trial_id} goes to another"
                )
            watch.tell_of_ended_trials()
            if terminated():
                raise Terminated("the search's state is saved; the same command goes on from there")
            if search.silent_s > config.abandon_after_s:
                raise JobError(
                    f"no worker was heard from for {config.abandon_after_s:.0f} s; start some, and "
                    "this command again: it goes on from there"
                )
        watch.tell_of_ended_trials()
        failure: Exception | None = None
        try:
            chief.closing = _last_word(search, watch.results)
        except JobError as error:
            chief.closing, failure = Leave("broken", str(error)), error
        while search.live_workers and not terminated():  # the dead are given up after the deadline
            time.sleep(_LOOK_S)
        if failure:
            raise failure
        chief.closing.raise_if_stopped()
    finally:
        chief.stop()


def _last_word(search: Search, results: Results) -> Leave:
    if search.fatal is None:
        results.finish()
    return search.fatal or Leave()


def _be_worker(
    data: str, job_dir: str, config: TuneConfig, role: Role, terminated: Callable[[], bool]
) -> None:
    source = RemoteSearch(
        role.address,
        Worker(role.tuner_id, new_instance()),
        config.worker_deadline_s,
        config.abandon_after_s,
        terminated,
        lambda: _is_done(job_dir) and _trials_of(job_dir) == config.trials,
    )
    _LOG.info(f"worker {role.tuner_id}, asking the chief at {role.address}")
    work(source, data, job_dir, role.tuner_id, terminated)


def _check(config: TuneConfig, space: Space, features: Features) -> None:
    """Refuse at once what the first trials would fail with.

    Raises:
        InputError: some value of the space does not fit the data or the settings, or the objective
            cannot be measured.
    """
    for key, value, settings in space.examples():
        try:
            resolved = resolve_config(build_settings(TrainConfig, settings), features)
        except InputError as error:
            raise InputError(f"space.{key}={value}: {error}") from error
        if not resolved.validation_partitions:
            raise InputError(
                f"{config.objective} is measured on validation partitions, and there are none; "
                "name some with --set space.validation_partitions=[…]"
            )
    if config.objective == "macro_f1" and not features.info.label_names:
        raise InputError(f"objective=macro_f1, but {features.uri} has no labels; use recall_at_1")


def _claim(job_dir: str, config: TuneConfig, space: Space, features: Features) -> bool:
    """Write the settings into the directory; return whether the search is finished already.

    Raises:
        InputError: the directory is that of another search, or of no search.
    """
    uri = storage.join(job_dir, CONFIG)
    values = _settings(config, space, features)
    claimed = storage.exists(uri)
    if claimed:
        there = yaml.safe_load(storage.read_text(uri))
        kept = {key: values[key] for key in _MAY_DIFFER}
        different = describe_differences(there | kept, values)
        if different:
            raise InputError(
                f"{job_dir} was made with other settings: {different}; choose another --job-dir"
            )
        if there["trials"] == values["trials"] and _is_done(job_dir):
            return True
        storage.delete(storage.join(job_dir, METRICS))  # there are more trials to be made
    storage.write_text(uri, yaml.safe_dump(values, sort_keys=False))
    return False


def _settings(config: TuneConfig, space: Space, features: Features) -> dict[str, Any]:
    """All that decides a search, as YAML gives it back."""
    settings = dataclasses.asdict(config) | {
        "fingerprint": features.info.fingerprint,
        "content_sha256": features.info.content_sha256,
    }
    del settings["space"]
    for key, value in space.fixed.items():
        settings[f"space.{key}"] = value
    for key, domain in space.searched.items():
        text = json.dumps(dataclasses.asdict(domain))
        settings[f"space.{key}"] = text
    return as_yaml_values(settings)


def _trials_of(job_dir: str) -> int | None:
    """How many trials the search of a directory was asked for the last time."""
    trials: int | None = yaml.safe_load(storage.read_text(storage.join(job_dir, CONFIG)))["trials"]
    return trials


def _is_done(job_dir: str) -> bool:
    return storage.exists(storage.join(job_dir, METRICS))
