"""The hosts of a run meet before TensorFlow starts, which would wait for them without end.

The chief listens at its port of TF_CONFIG, the others connect to it and stay connected until all
are there. So a host that waits sees SIGTERM at once, and a process of an earlier attempt, which may
still be ending, does not count as present.
"""

import contextlib
import json
import logging
import os
import re
import select
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dem.errors import InputError, JobError
from trainer.train.tf_config import Cluster

_LOG = logging.getLogger(__name__)

WAIT = "DEM_WORKERS_WAIT_S"
"""Environment variable: seconds to wait for the other hosts."""

_WAIT_S = 1800.0  # a node may have to be started, and a large image to be pulled
_BEAT_S = 1.0  # between two messages of the chief
_SILENCE_S = 10.0  # after which the chief counts as gone
_LOG_EVERY_S = 60.0
_LONGEST = 256  # bytes of a greeting


def meet(cluster: Cluster) -> None:
    """Wait until all hosts are there.

    Raises:
        InputError: the deadline or an address has no valid form.
        JobError: some are missing at the deadline, or the chief's port is in use.
    """
    if cluster.workers == 1:
        return
    deadline = time.monotonic() + _wait_s(os.environ.get(WAIT, ""))
    run = _lead if cluster.is_chief else _follow
    # In a thread: a look-up of a name may block for long, and signals are handled between.
    with ThreadPoolExecutor(1) as pool:
        missing = pool.submit(run, cluster, deadline).result()
    if missing:
        raise JobError(
            f"missing after the deadline: {_names(cluster, missing)}; start the same command "
            f"there, check TF_CONFIG or DEM_WORKER_ADDRESS, or wait longer with {WAIT}"
        )


def _wait_s(text: str) -> float:
    if not text:
        return _WAIT_S
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise InputError(f"{WAIT}={text!r} is not a number of seconds")
    return float(text)


def _address(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":")
    if not (name and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(f"{host!r} in TF_CONFIG or DEM_WORKER_ADDRESS is not host:port")
    return name.strip("[]"), int(port)


def _names(cluster: Cluster, missing: Sequence[int]) -> str:
    return ", ".join(f"worker {index} ({cluster.hosts[index]})" for index in missing)


def _greeting(cluster: Cluster, index: int) -> bytes:
    return f"worker {index} of {cluster.workers}\n".encode()


def _lead(cluster: Cluster, deadline: float) -> list[int]:
    """Wait as the chief; return who is missing at the deadline."""
    _, port = _address(cluster.hosts[0])
    greetings = {_greeting(cluster, index): index for index in range(1, cluster.workers)}
    missing, told_at = sorted(greetings.values()), -_LOG_EVERY_S
    with contextlib.ExitStack() as sockets:
        server = sockets.enter_context(_listen(port))
        said: dict[socket.socket, bytes] = {}  # by connection
        while missing and time.monotonic() < deadline:
            told_at = _tell(cluster, missing, told_at)
            for ready in select.select([server, *said], [], [], _BEAT_S)[0]:
                if ready is server:
                    said[sockets.enter_context(_accept(server))] = b""
                elif (more := _receive(ready)) and len(said[ready]) < _LONGEST:
                    said[ready] += more
                else:
                    del said[ready]
                    ready.close()
            present = {greetings[text]: other for other, text in said.items() if text in greetings}
            missing = [index for index in greetings.values() if index not in present]
            for other in present.values():
                with contextlib.suppress(OSError):  # seen as gone when it is read
                    other.sendall(json.dumps(missing).encode() + b"\n")
    return missing


def _listen(port: int) -> socket.socket:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise JobError(
            f"cannot listen on port {port} ({reason}); end the process that uses it, or "
            "choose another port in TF_CONFIG or DEM_WORKER_ADDRESS"
        ) from error


def _accept(server: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(0)
    return connection


def _receive(connection: socket.socket) -> bytes:
    """What has come; nothing if the other is gone."""
    try:
        return connection.recv(_LONGEST)
    except OSError:
        return b""


def _follow(cluster: Cluster, deadline: float) -> list[int]:
    """Wait as another host; return who is missing at the deadline, as far as is known."""
    chief, missing, told_at = _address(cluster.hosts[0]), [0], -_LOG_EVERY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, TypeError), _connect(chief) as connection:
            connection.sendall(_greeting(cluster, cluster.index))
            for line in connection.makefile():
                missing = [int(index) for index in json.loads(line)]
                if not missing or time.monotonic() > deadline:
                    return missing
                told_at = _tell(cluster, missing, told_at)
        missing = [0]
        told_at = _tell(cluster, missing, told_at)
        time.sleep(_BEAT_S)
    return missing


def _connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=_SILENCE_S)


def _tell(cluster: Cluster, missing: Sequence[int], told_at: float) -> float:
    """Log now and then who is missing; return when it was logged."""
    now = time.monotonic()
    if now - told_at < _LOG_EVERY_S:
        return told_at
    _LOG.info(f"waiting for {_names(cluster, missing)}")
    return now
