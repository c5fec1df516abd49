"""Several workers of one command on this machine, found by TF_CONFIG."""

import json
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack

from tests.processes import start


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def start_workers(*commands: Sequence[object]) -> list[subprocess.Popen[str]]:
    """Start ``python -m command…`` for each worker."""
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
