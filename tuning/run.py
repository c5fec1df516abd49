"""A search from settings to a finished job directory; after a kill it resumes."""

import logging
import uuid
from collections.abc import Callable, Sequence

import tensorflow as tf

from dem.errors import InputError
from dem.settings import build_settings
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.train.resolve import resolve_config
from tuning.config import TuneConfig
from tuning.job_dir import claim, is_done
from tuning.results.files import Results
from tuning.results.progress import Progress
from tuning.search.messages import Worker
from tuning.search.oracle import build_oracle
from tuning.search.state import Search
from tuning.space import Space, read_space
from tuning.workers.chief import run_chief
from tuning.workers.local import LocalSearch
from tuning.workers.loop import work
from tuning.workers.role import Role
from tuning.workers.rpc import RemoteSearch

_LOG = logging.getLogger(__name__)


def tune(
    data: str, job_dir: str, config: TuneConfig, role: Role, terminated: Callable[[], bool]
) -> None:
    """Search, alone or as chief or worker; print the summary unless this is a worker.

    Args:
        data: features directory.
        job_dir: for trials and results, shared by chief and workers.
        config: the settings.
        role: of this process.
        terminated: whether this process has received SIGTERM.

    Raises:
        InputError: the space or the data do not fit, or the directory belongs to another search.
        JobError: no trial completed, an error in the program ended the search, or there was no
            heartbeat from the other processes.
        Terminated: `terminated()` was true; the state is saved.
    """
    tf.config.set_visible_devices([], "GPU")  # left to the trials, which are other processes
    features = open_features(data)
    space = read_space(config.space)
    _validate(config, space, features)
    oracle = build_oracle(config, space)
    if role.kind == "worker":  # after the same validation as the chief's, so it need not wait
        _run_worker(data, job_dir, config, role, terminated)
        return
    done = claim(job_dir, config, space, features)
    info = features.info
    data_pins = {"fingerprint": info.fingerprint, "content_sha256": info.content_sha256}
    search = Search(config, space, oracle, job_dir, data_pins)
    results = Results(job_dir, config, space, search, features)
    if done:
        _LOG.info(f"{job_dir} is finished already, nothing to do")
    else:
        if search.outcomes:
            _LOG.info(f"resuming after {len(search.outcomes)} trials")
        results.log_space()
        progress = Progress(config, search, results)
        if role.kind == "chief":
            run_chief(role, config, search, progress, terminated)
        else:
            work(LocalSearch(search, progress.update), data, job_dir, role.kind, terminated)
            progress.finish()
    print(results.summary(), flush=True)


def _run_worker(
    data: str, job_dir: str, config: TuneConfig, role: Role, terminated: Callable[[], bool]
) -> None:
    source = RemoteSearch(
        role.address,
        role.token,
        Worker(role.tuner_id, uuid.uuid4().hex),
        config.worker_deadline_s,
        config.abandon_after_s,
        terminated,
        lambda: is_done(job_dir, config.trials),
    )
    _LOG.info(f"worker {role.tuner_id}, asking the chief at {role.address}")
    work(source, data, job_dir, role.tuner_id, terminated)


def _validate(config: TuneConfig, space: Space, features: Features) -> None:
    """Refuse at once what would fail in the first trials.

    Raises:
        InputError: a value of the space does not fit the data or the settings, or the objective
            cannot be measured.
    """
    for key, value, settings in space.examples():
        try:
            resolved = resolve_config(build_settings(TrainConfig, settings), features)
        except InputError as error:
            raise InputError(f"space.{key}={value}: {error}") from error
        if not resolved.validation_partitions:
            raise InputError(
                f"{config.objective} is measured on validation partitions, but there are none; "
                "set some with --set space.validation_partitions=[…]"
            )
        _require_contexts(config, resolved.validation_partitions, features)
    if config.objective == "macro_f1" and not features.info.label_names:
        raise InputError(f"objective=macro_f1, but {features.uri} has no labels; use recall_at_1")


def _require_contexts(config: TuneConfig, validation: Sequence[str], features: Features) -> None:
    """Raise an InputError if recall_at_1 would be measured on one strip, and so on one context."""
    strips = sum(features.info.partitions[name].strips for name in validation)
    if config.objective == "recall_at_1" and strips < 2:
        raise InputError(
            f"recall_at_1 needs two contexts, such as songs, and {', '.join(validation)} of "
            f"{features.uri} holds one; add recordings, or set others with "
            "--set space.validation_partitions=[…]"
        )
