"""Hosts that wait for each other, as processes; TensorFlow is not started."""

import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from dem.errors import InputError
from tests.cluster import finish, free_ports
from tests.processes import ROOT, error_line
from trainer.train.rendezvous import meet
from trainer.train.tf_config import Cluster

PROGRAM = """
import sys
from dem.command import run_command
from dem.termination import watch_sigterm
from trainer.train.rendezvous import meet
from trainer.train.tf_config import Cluster
watch_sigterm()
hosts, index = sys.argv[1].split(","), int(sys.argv[2])
sys.exit(run_command(lambda: meet(Cluster(tuple(hosts), index)), debug=False))
"""


def start(hosts: list[str], index: int, wait_s: float = 60) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, ",".join(hosts), str(index)],
        cwd=ROOT,
        env={"DEM_WORKERS_WAIT_S": str(wait_s), "PATH": ""},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def hosts() -> list[str]:
    return [f"127.0.0.1:{port}" for port in free_ports(3)]


def said(process: subprocess.Popen[str]) -> str:
    """The first line on stderr."""
    assert process.stderr
    return process.stderr.readline()


def test_all_go_on_once_the_last_is_there_whoever_comes_first(hosts: list[str]) -> None:
    second = start(hosts, 1)
    assert f"waiting for worker 0 ({hosts[0]})" in said(second)
    chief = start(hosts, 0)
    assert f"waiting for worker 1 ({hosts[1]}), worker 2 ({hosts[2]})" in said(chief)
    time.sleep(0.5)
    assert chief.poll() is None
    for process in (start(hosts, 2), second, chief):
        finished = finish(process)
        assert finished.returncode == 0, finished.stderr


def test_sigterm_ends_a_waiting_host_at_once(hosts: list[str]) -> None:
    for index in (0, 1):
        process = start(hosts, index)
        said(process)
        process.send_signal(signal.SIGTERM)
        sent = time.monotonic()
        assert finish(process).returncode == 143
        assert time.monotonic() - sent < 2


def test_the_deadline_names_who_is_missing(hosts: list[str]) -> None:
    chief, second = start(hosts, 0, wait_s=3), start(hosts, 1, wait_s=2)
    for process in (chief, second):
        finished = finish(process)
        assert finished.returncode == 1
        line = error_line(finished)
        assert f"worker 2 ({hosts[2]}); start the same command there" in line
    alone = finish(start(hosts, 2, wait_s=0.1))
    assert f"error: missing after the deadline: worker 0 ({hosts[0]}); " in alone.stderr


def test_one_that_left_is_missing_again_and_its_successor_counts(hosts: list[str]) -> None:
    chief, first = start(hosts, 0), start(hosts, 1)
    said(first)
    time.sleep(1)
    first.kill()
    finish(first)
    last = start(hosts, 2)
    time.sleep(2)
    assert chief.poll() is None
    for process in (start(hosts, 1), last, chief):
        assert finish(process).returncode == 0


def test_strangers_and_hosts_of_other_runs_do_not_count(hosts: list[str]) -> None:
    chief = start(hosts[:2], 0, wait_s=2)
    said(chief)
    address = ("127.0.0.1", int(hosts[0].split(":")[1]))
    words = (b"GET / HTTP/1.1\n\n", b"worker 1 of 3\n", b"", bytes(1000))
    strangers = [socket.create_connection(address) for _ in words]
    for stranger, text in zip(strangers, words, strict=True):
        stranger.sendall(text)
    finished = finish(chief)
    assert f"worker 1 ({hosts[1]})" in error_line(finished)
    for stranger in strangers:
        stranger.close()


def test_a_port_in_use_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        host = f"127.0.0.1:{other.getsockname()[1]}"
        finished = finish(start([host, "127.0.0.1:1"], 0))
    assert finished.returncode == 1
    assert re.search(r"cannot listen on port \d+ \(Address already in use\)", error_line(finished))


@pytest.mark.parametrize(
    ("host", "wait", "message"),
    [
        ("a", "1", "'a' in TF_CONFIG or DEM_WORKER_ADDRESS is not host:port"),
        ("a:99999", "1", "'a:99999' in TF_CONFIG"),
        ("a:1", "soon", "DEM_WORKERS_WAIT_S='soon' is not a number of seconds"),
    ],
)
def test_values_that_are_none_are_refused(
    monkeypatch: pytest.MonkeyPatch, host: str, wait: str, message: str
) -> None:
    monkeypatch.setenv("DEM_WORKERS_WAIT_S", wait)
    with pytest.raises(InputError, match=re.escape(message)):
        meet(Cluster((host, "b:1"), 1))


def test_a_single_host_does_not_wait() -> None:
    meet(Cluster())
