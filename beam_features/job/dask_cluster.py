"""The engine that is Dask: worker processes of this machine, or those of a scheduler elsewhere.

Shards are submitted as tasks of their own, without Beam: Beam's runner for Dask reports no metrics,
names no shard when a worker is killed, and groups elements into partitions that wait for each
other. Dask gives a task whose worker was lost to another worker, and gives up after some of them.
"""

import argparse
import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pkgutil import resolve_name
from threading import Event
from typing import NoReturn

import dask
from dask.system import CPU_COUNT
from distributed import Client, LocalCluster, as_completed, get_worker
from distributed.scheduler import KilledWorker

from beam_features.job.attempt import Place
from beam_features.job.background import in_background
from beam_features.job.engine import EngineError
from beam_features.job.maker import ShardMaker
from beam_features.job.totals import PACKAGES
from dem import __version__, storage
from dem.errors import InputError, JobError, described, did_you_mean, first_line

_LOG = logging.getLogger(__name__)

_ADDRESS = re.compile(r"(tcp|tls)://(\[[0-9a-fA-F:.]+\]|[^/\s:]+):\d+")
_CONNECT_S = 30
_WAITING_S = 30  # between two lines that there are no workers
_TRIM = "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_"
"""A variable that Dask sets for workers; with it, glibc maps each array anew, and the job takes 1.3
times as long."""
_SHARED = "give gs:// URIs, or directories that all machines mount under the same path"
_WORKERS = "--direct_num_workers"


class DaskEngine:
    """Makes each shard by a task of Dask.

    Args:
        address: of a scheduler; None: a cluster of processes on this machine.
        n_workers: processes of that cluster; 0: one per core.

    Raises:
        InputError: the address is malformed, or both are given.
    """

    def __init__(self, address: str | None, n_workers: int) -> None:
        if address is not None and not _ADDRESS.fullmatch(address):
            raise InputError(f"--dask-address must be tcp://HOST:PORT, not {address!r}")
        if address is not None and n_workers:
            raise InputError(
                f"{_WORKERS} starts workers on this machine, --dask-address uses those of a "
                "scheduler; give one of them"
            )
        if n_workers < 0:
            raise InputError(f"{_WORKERS} must be 0 (all cores) or more, not {n_workers}")
        self._address, self._n_workers = address, n_workers or CPU_COUNT

    def use_one_process(self) -> None:
        """Start no second worker on this machine."""
        self._n_workers = 1

    def make_shards(self, maker: ShardMaker, places: Mapping[str, Place]) -> None:
        """Submit the shards and wait for all."""
        with self._connected() as client:
            _LOG.info(f"Dask: {_count(client)} workers, dashboard at {client.dashboard_link}")
            _check_imports(client)
            with _saying_that_there_are_no_workers(client), _causes():
                _make_all(client, maker, places)

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        _log_as_we_do()
        if self._address is None:
            with _start_cluster(self._n_workers) as cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(self._address, timeout=_CONNECT_S)
        except OSError as error:
            _fail(
                f"no Dask scheduler answers at {self._address} within {_CONNECT_S} s; check the "
                "address, and that 'dask scheduler' runs there",
                error,
            )
        except TypeError as error:  # of the certificates
            raise InputError(f"--dask-address {self._address}: {first_line(error)}") from error
        with client:
            yield client


def _start_cluster(n_workers: int) -> LocalCluster:
    with dask.config.set({_TRIM: None}):
        try:
            return LocalCluster(n_workers, threads_per_worker=1, silence_logs=logging.ERROR)
        except RuntimeError as error:
            _fail("a worker process ended before it began (out of memory?)", error)


def dask_engine(address: str | None, words: Sequence[str], own: Sequence[str]) -> DaskEngine:
    """Build the engine from ``--dask-address`` and the options that are none of ours.

    Raises:
        InputError: an option is not one of this engine's.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument(_WORKERS, type=int, default=0)
    try:
        known, unknown = parser.parse_known_args(list(words))
    except argparse.ArgumentError as error:
        raise InputError(str(error)) from error
    if unknown:
        hint = did_you_mean(unknown[0].partition("=")[0], [*own, _WORKERS])
        raise InputError(f"--runner=dask has no option {unknown[0]!r}; see --help{hint}")
    return DaskEngine(address, known.direct_num_workers)


def _log_as_we_do() -> None:
    """Pass on in our format that a worker is restarted; the rest is for those who run a cluster."""
    for name in ("distributed", "distributed.client", "bokeh", "tornado"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.CRITICAL)
    logging.getLogger("distributed.nanny").setLevel(logging.WARNING)
    sys.warnoptions.append("ignore:resource_tracker")  # where a signal ends this process at once


def _count(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _check_imports(client: Client) -> None:
    """Refuse workers without this package, which a task would end before it begins.

    Raises:
        InputError: one lacks it, or something that it needs.
    """
    name = f"{__name__}:{_make.__name__}"  # nothing of ours is needed to look for it
    for worker, found in sorted(client.run(resolve_name, name, on_error="return").items()):
        if isinstance(found, (ImportError, AttributeError)):
            raise InputError(
                f"the Dask worker {worker} cannot import this package ({first_line(found)}); "
                "install it there, too, in the same version"
            )


def _versions() -> dict[str, str]:
    ours = {"deep-embedded-music": __version__}
    return ours | {package: version(package) for package in PACKAGES}


def _make(maker: ShardMaker, versions: Mapping[str, str], place: Place) -> None:
    """Make a shard, on a worker; its summary is in the storage.

    Args:
        maker: of the shard.
        versions: of the launcher.
        place: of the shard, in the plan.

    Raises:
        InputError: this worker would make another shard, or cannot read or write the files.
    """
    for package, ours in _versions().items():
        if ours != versions[package]:
            _refuse(
                f"has {package} {ours}, the launcher {versions[package]}; install the versions of "
                "one requirements.lock on both"
            )
    if not storage.is_directory(maker.output):
        _refuse(f"cannot see {maker.output}; {_SHARED}")
    sources = maker.attempt.read_plan(place).versions
    if sources and not any(map(storage.is_file, sources)):
        _refuse(f"cannot see {next(iter(sources))}; {_SHARED}")
    maker.make(place)


def _refuse(why: str) -> NoReturn:
    raise InputError(f"the Dask worker {get_worker().address} {why}")


def _make_all(client: Client, maker: ShardMaker, places: Mapping[str, Place]) -> None:
    keys = [f"shard-{name}-{maker.attempt.name}" for name in places]
    futures = client.map(
        partial(_make, maker, _versions()), list(places.values()), key=keys, pure=False
    )
    try:
        for future in as_completed(futures):
            if (
                future.status != "finished"
            ):  # a result would be fetched from the worker, for nothing
                future.result()
            future.release()  # or the shard is made again when its worker is lost
    except BaseException:
        client.cancel(futures, force=True)
        raise


@contextmanager
def _causes() -> Iterator[None]:
    """Raise an EngineError with the cause of what the body raises."""
    try:
        yield
    except KilledWorker as error:
        shard = re.sub(r"shard-(.*)-run-[0-9a-f]{32}.*", r"\1", str(error.task))
        tries = error.allowed_failures + 1
        _fail(
            f"{tries} workers were killed while they made {shard} (out of memory?); without "
            "--runner=dask, the command names the file that was read",
            error,
        )
    except CancelledError as error:
        _fail("the Dask scheduler was lost", error)
    except InputError:
        raise
    except JobError as error:
        _fail(str(error), error)
    except Exception as error:  # of any kind: it comes from a worker
        _fail(described(error), error)


def _fail(cause: str, error: BaseException) -> NoReturn:
    raise EngineError(cause) from error


@contextmanager
def _saying_that_there_are_no_workers(client: Client) -> Iterator[None]:
    """While the body runs, log at intervals that it waits for workers."""

    def watch(done: Event) -> None:
        while not done.wait(_WAITING_S):
            if _count(client) == 0:
                _LOG.warning("no worker is connected to the Dask scheduler; waiting for one")

    with in_background(watch):
        yield
