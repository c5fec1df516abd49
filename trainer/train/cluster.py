"""Communication between the hosts of a run: agreement, waiting, and loss of a worker."""

import contextlib
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dem.errors import InputError, LostPeerError, Terminated
from trainer.train.tf_config import Cluster

_LOG = logging.getLogger(__name__)

_LOST = (  # what a collective operation raises when another worker is gone
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.UnavailableError,
)
_PERHAPS_LOST = (  # also raised by faults of this host, which must not pass for a loss
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
_OF_OTHERS = ("ollective", "oordination", "NCCL", "/task:")

Exchange = Callable[[Sequence[int]], npt.NDArray[np.int64]]
"""Send `n` integers to all workers; returns ``[workers, n]``. Every worker must call it."""


def make_exchange(strategy: tf.distribute.Strategy, cluster: Cluster) -> Exchange:
    """Build the function by which workers agree; a single worker needs no communication."""
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
        received: npt.NDArray[np.int64] = total(tf.constant(table)).numpy()
        return received

    return exchange


@dataclass(frozen=True)
class Workers:
    """The workers of a run: their devices, and how they communicate."""

    cluster: Cluster
    strategy: tf.distribute.Strategy
    exchange: Exchange

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the job directory."""
        return self.cluster.is_chief

    def log(self, line: str, level: int = logging.INFO) -> None:
        """Log a line once for all workers."""
        if self.is_chief:
            _LOG.log(level, line)


def join_workers(cluster: Cluster, strategy: tf.distribute.Strategy) -> Workers:
    """Prepare the communication with the other workers, if there are any."""
    return Workers(cluster, strategy, make_exchange(strategy, cluster))


def require_agreement(exchange: Exchange, what: str, value: object) -> None:
    """Compare a value across the workers.

    Raises:
        InputError: it differs.
    """
    digests = exchange([zlib.crc32(repr(value).encode())])[:, 0]
    others = np.flatnonzero(digests != digests[0])
    if len(others):
        raise InputError(
            f"worker {others[0]} has other {what} than worker 0; start the same command, on the "
            "same storage, everywhere"
        )


def wait_for_all(exchange: Exchange) -> None:
    """Wait until every worker has called this; one that continues first may already be gone."""
    with contextlib.suppress(*_LOST, *_PERHAPS_LOST):
        exchange([0])


def is_loss(error: tf.errors.OpError) -> bool:
    """Whether an error of TensorFlow means that another worker is gone."""
    if isinstance(error, _LOST):
        return True
    return isinstance(error, _PERHAPS_LOST) and any(word in error.message for word in _OF_OTHERS)


@contextlib.contextmanager
def report_lost_workers(cluster: Cluster, terminated: Callable[[], bool]) -> Iterator[None]:
    """Report the loss of another worker in one line.

    Raises:
        LostPeerError: a worker is lost.
        Terminated: a worker is lost, and this one has received SIGTERM.
    """
    try:
        yield
    except (*_LOST, *_PERHAPS_LOST) as error:
        if cluster.workers == 1 or not is_loss(error):
            raise
        if terminated():
            raise Terminated("another worker stopped first; the last checkpoint is kept") from error
        raise LostPeerError(
            f"lost another of the {cluster.workers} workers ({type(error).__name__}); start the "
            "same command on all of them again: they resume from the last checkpoint"
        ) from error
