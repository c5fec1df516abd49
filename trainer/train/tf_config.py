"""TF_CONFIG: the hosts of a run, and which of them this process is."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from dem.errors import InputError

_TF_CONFIG = "TF_CONFIG"
_WORKERS, _ADDRESS, _INDEX = "DEM_WORKERS", "DEM_WORKER_ADDRESS", "JOB_COMPLETION_INDEX"


@dataclass(frozen=True)
class Cluster:
    """The ``host:port`` of each worker, and which of them this process is; 0 is the chief."""

    hosts: tuple[str, ...] = ("localhost:0",)
    index: int = 0

    @property
    def workers(self) -> int:
        """How many there are."""
        return len(self.hosts)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the job directory."""
        return self.index == 0


def tf_config_of_indexed_job(environment: Mapping[str, str]) -> str | None:
    """Build TF_CONFIG in a Pod of a Kubernetes Indexed Job.

    Args:
        environment: DEM_WORKERS is the number of Pods, DEM_WORKER_ADDRESS the ``host:port`` of each
            with ``{index}`` in place of its number, JOB_COMPLETION_INDEX the number of this Pod.

    Returns:
        The value; None if TF_CONFIG is set, or neither of the first two is.

    Raises:
        InputError: only some of them are set, or they are not numbers or do not fit.
    """
    values = {name: environment.get(name, "") for name in (_WORKERS, _ADDRESS, _INDEX)}
    if environment.get(_TF_CONFIG) or not (values[_WORKERS] or values[_ADDRESS]):
        return None
    missing = [name for name, value in values.items() if not value]
    if missing:
        raise InputError(
            f"{', '.join(missing)} must be set, too, to train on several hosts; {_INDEX} is set by "
            "Kubernetes in Jobs with completionMode: Indexed"
        )
    for name in (_WORKERS, _INDEX):
        if not values[name].isdecimal():
            raise InputError(f"{name}={values[name]!r} is not a number")
    workers, index, address = int(values[_WORKERS]), int(values[_INDEX]), values[_ADDRESS]
    if index >= workers:
        raise InputError(
            f"{_INDEX}={index}, but {_WORKERS}={workers}; set it to the completions of the Job"
        )
    if "{index}" not in address and workers > 1:
        raise InputError(
            f"{_ADDRESS}={address!r} is the same for all; put {{index}} where they differ, as in "
            "train-{index}.train:2222"
        )
    hosts = [address.replace("{index}", str(worker)) for worker in range(workers)]
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": hosts}, "task": task})


def join_indexed_job() -> None:
    """Set TF_CONFIG, which TensorFlow reads, in a Pod of an Indexed Job."""
    value = tf_config_of_indexed_job(os.environ)
    if value:
        os.environ[_TF_CONFIG] = value


def read_cluster() -> Cluster:
    """Read TF_CONFIG; without it, this process is the only worker.

    Raises:
        InputError: its format is not TensorFlow's, or it has tasks other than workers.
    """
    text = os.environ.get(_TF_CONFIG)
    if not text:
        return Cluster()
    try:
        values = json.loads(text)
        cluster = values["cluster"]
        # Sorted: a chief comes before the workers, as in TensorFlow.
        tasks = [(kind, index) for kind in sorted(cluster) for index in range(len(cluster[kind]))]
        hosts = tuple(str(host) for kind in sorted(cluster) for host in cluster[kind])
        task = (values["task"]["type"], int(values["task"]["index"]))
        if not {kind for kind, _ in tasks} <= {"chief", "worker"}:
            raise InputError(
                f"TF_CONFIG names {', '.join(cluster)}; training supports only chief and "
                "worker: remove the others"
            )
        return Cluster(hosts, tasks.index(task))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"TF_CONFIG={text!r} is not valid; set it to "
            '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}, or '
            "unset it"
        ) from error
