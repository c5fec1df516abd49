"""Several workers of one command on this machine."""

import contextlib
import json
import socket
import subprocess
from collections.abc import Sequence

from tests.processes import start


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def consecutive_ports(count: int) -> str:
    """What is before the last digit, from 0, of ports that nobody listens on now."""
    for tens in range(2000, 3000):
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for last in range(count):
                one = stack.enter_context(socket.socket())
                one.bind(("127.0.0.1", 10 * tens + last))
            return str(tens)
    raise AssertionError("no such ports are free")


def start_workers(*commands: Sequence[object]) -> list[subprocess.Popen[str]]:
    """Start ``python -m command…`` for each worker; TF_CONFIG tells it of the others."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(len(commands))]
    workers = []
    for index, command in enumerate(commands):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": hosts}, "task": task})
        workers.append(start(*command, TF_CONFIG=config))
    return workers


def run_workers(*commands: Sequence[object]) -> list[subprocess.CompletedProcess[str]]:
    """Run them to their end."""
    return [finish(worker) for worker in start_workers(*commands)]


def finish(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a process."""
    stdout, stderr = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)
