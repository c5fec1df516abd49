"""The hosts of a run, as the TF_CONFIG of each names them, and what these agree on."""

import contextlib
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dem.errors import InputError, JobError, Terminated

_TF_CONFIG = "TF_CONFIG"
_WORKERS, _ADDRESS, _INDEX = "DEM_WORKERS", "DEM_WORKER_ADDRESS", "JOB_COMPLETION_INDEX"
_LOST = (  # what a collective operation raises when another worker is gone
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)

Exchange = Callable[[Sequence[int]], npt.NDArray[np.int64]]
"""Tell `n` integers to all workers; ``[workers, n]``: what each has told. All must call it."""


@dataclass(frozen=True)
class Cluster:
    """How many workers there are, and which of them this process is; number 0 is the chief."""

    workers: int = 1
    index: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the job directory."""
        return self.index == 0


def tf_config_of_indexed_job(environment: Mapping[str, str]) -> str | None:
    """Build TF_CONFIG from what a Pod of an Indexed Job of Kubernetes knows.

    Args:
        environment: of it, DEM_WORKERS is the number of Pods, DEM_WORKER_ADDRESS the ``host:port``
            of each with ``{index}`` in place of its number, JOB_COMPLETION_INDEX the own number.

    Returns:
        The value, or None where TF_CONFIG or none of the first two is set.

    Raises:
        InputError: only some of them are set, or the numbers are none or do not fit.
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
    """Set TF_CONFIG, which is all that TensorFlow reads, in a Pod of an Indexed Job."""
    value = tf_config_of_indexed_job(os.environ)
    if value:
        os.environ[_TF_CONFIG] = value


def read_cluster() -> Cluster:
    """Read TF_CONFIG; without it, this process is alone.

    Raises:
        InputError: it is not what TensorFlow expects, or has other tasks than workers.
    """
    text = os.environ.get(_TF_CONFIG)
    if not text:
        return Cluster()
    try:
        values = json.loads(text)
        cluster = values["cluster"]
        # Sorted: a chief comes before the workers, as in TensorFlow.
        tasks = [(kind, index) for kind in sorted(cluster) for index in range(len(cluster[kind]))]
        task = (values["task"]["type"], int(values["task"]["index"]))
        if not {kind for kind, _ in tasks} <= {"chief", "worker"}:
            raise InputError(
                f"TF_CONFIG names {', '.join(cluster)}; training knows only chief and "
                "worker: remove the others"
            )
        return Cluster(len(tasks), tasks.index(task))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"TF_CONFIG={text!r} is not understood; set it to "
            '{"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": 0}}, or '
            "unset it"
        ) from error


def make_exchange(strategy: tf.distribute.Strategy, cluster: Cluster) -> Exchange:
    """Build the function by which the workers agree; alone there is no communication."""
    if cluster.workers == 1:
        return lambda values: np.array([values], np.int64)
    local_replicas = strategy.num_replicas_in_sync // cluster.workers

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def total(table: tf.Tensor) -> tf.Tensor:
        def add() -> tf.Tensor:
            replica = tf.distribute.get_replica_context()
            first = replica.replica_id_in_sync_group % local_replicas == 0
            own = tf.where(first, table, tf.zeros_like(table))
            return replica.all_reduce(tf.distribute.ReduceOp.SUM, own)

        return strategy.experimental_local_results(strategy.run(add))[0]

    def exchange(values: Sequence[int]) -> npt.NDArray[np.int64]:
        table = np.zeros([cluster.workers, len(values)], np.int64)
        table[cluster.index] = values
        told: npt.NDArray[np.int64] = total(tf.constant(table)).numpy()
        return told

    return exchange


def require_agreement(exchange: Exchange, what: str, value: object) -> None:
    """Compare a value over the workers.

    Raises:
        InputError: it is not the same everywhere.
    """
    digests = exchange([zlib.crc32(repr(value).encode())])[:, 0]
    others = np.flatnonzero(digests != digests[0])
    if len(others):
        raise InputError(
            f"worker {others[0]} has other {what} than worker 0; start the same command, on the "
            "same storage, everywhere"
        )


def wait_for_all(exchange: Exchange) -> None:
    """Keep the workers together until all have come here; who is through first may be gone."""
    with contextlib.suppress(*_LOST):
        exchange([0])


@contextlib.contextmanager
def watch_for_lost_workers(cluster: Cluster, terminated: Callable[[], bool]) -> Iterator[Any]:
    """Tell in one line that another worker is gone.

    Raises:
        JobError: one is.
        Terminated: one is, and this one was also asked to stop.
    """
    try:
        yield
    except _LOST as error:
        if cluster.workers == 1:
            raise
        if terminated():
            raise Terminated("another worker stopped first; the last checkpoint stands") from error
        raise JobError(
            f"another of the {cluster.workers} workers is gone ({type(error).__name__}); start the "
            "same command on all of them again: they go on from the last checkpoint"
        ) from error
