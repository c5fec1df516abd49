"""Workers in other processes than the launcher: same bytes, errors that arrive, what they need."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import ROOT, messages

PATIENCE_S = 60


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def wait_until_listening(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with socket.socket() as caller:
            if caller.connect_ex(("localhost", port)) == 0:
                return
        time.sleep(0.1)
    raise TimeoutError(log.read_text())


@contextmanager
def service(log: Path, module: str, port_option: str, **environment: str) -> Iterator[int]:
    """Run one of Beam's servers on a free port; give the port, and end its whole session after."""
    port = free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, f"{port_option}={port}"],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_until_listening(port, process, log)
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[tuple[list[str], Path]]:
    """A job server and a pool of workers, each a process; the options for them, and their logs.

    Beam's local job server stands for that of a cluster. It starts no worker of its own but asks
    the pool, in the protocol that Flink and Spark speak to a pool.
    """
    logs = tmp_path_factory.mktemp("cluster")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the pool starts "python"
    pool = service(
        logs / "pool", "apache_beam.runners.worker.worker_pool_main", "--service_port", PATH=path
    )
    server = service(
        logs / "server", "apache_beam.runners.portability.local_job_service_main", "--port"
    )
    with pool as pool_port, server as job_port:
        options = [
            "--runner=PortableRunner",
            f"--job_endpoint=localhost:{job_port}",
            "--environment_type=EXTERNAL",
            f"--environment_config=localhost:{pool_port}",
            "--experiments=disable_logging_submission_environment",  # it runs pip freeze
        ]
        yield options, logs


def workers_started(logs: Path) -> int:
    return (logs / "pool").read_text().count("Starting worker with command ['python'")


@pytest.fixture
def launch(songs, run_job, capfd) -> Callable[..., tuple[int, str, str]]:
    """Launch the job on `songs`; return its exit code, stdout and stderr."""

    def launch(output: Path, *options: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run_job(songs, output, *options)
        return code, *capfd.readouterr()

    return launch


def blocked(output: Path) -> Path:
    """Let the job fail in a worker: a directory has the name of a shard."""
    obstacle = output / "train-00000-of-00002.tfrecord"
    obstacle.mkdir(parents=True)
    (obstacle / "x").touch()
    return obstacle


@pytest.mark.parametrize("kind", ["pool", pytest.param("processes", marks=pytest.mark.slow)])
def test_failure_in_a_worker_and_resuming_after_it(
    launch, request, features, contents, tmp_path, kind
):
    """The cause arrives in the last line, the code is 1, and the same command resumes."""
    options, logs = ["--direct_num_workers=2"], None
    if kind == "pool":
        options, logs = request.getfixturevalue("cluster")
    output = tmp_path / "out"
    obstacle = blocked(output)
    code, _, stderr = launch(output, *options)
    assert code == 1
    last = stderr.splitlines()[-1]
    assert last.startswith(f"error: dem.errors.JobError: cannot write to {output}/train-")
    assert "Is a directory" in last
    assert "finished shards are kept, the same command resumes" in last
    assert not (output / "dataset_info.json").exists()

    shutil.rmtree(obstacle)
    code, _, stderr = launch(output, *options)
    assert code == 0, stderr
    assert contents(output) == contents(features)
    first, *_ = messages(stderr)
    assert re.fullmatch(r"4 shards, [0-3] of them finished by an earlier run", first)

    code, _, stderr = launch(output, *options)
    assert code == 0
    assert f"{output} is already complete" in stderr
    if logs:
        assert workers_started(logs) == 2
        assert "Requesting worker at localhost:" in (logs / "server").read_text()


def test_no_job_server(launch, tmp_path):
    port = free_port()
    options = [f"--job_endpoint=localhost:{port}", "--job_server_timeout=1"]
    code, _, stderr = launch(tmp_path / "out", "--runner=PortableRunner", *options)
    assert code == 1
    assert stderr.splitlines()[-1].startswith(f"error: no job server answers at localhost:{port}; ")


def test_unknown_runner_leaves_nothing(launch, tmp_path):
    code, _, stderr = launch(tmp_path / "out", "--runner=FlnkRunner")
    assert code == 2
    assert stderr.startswith("error: unknown runner 'FlnkRunner'; choose one of: ")
    assert len(stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
