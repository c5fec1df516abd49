"""Dask: the bytes of other engines, on this machine and by a scheduler, also after kills."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from beam_features.__main__ import main
from beam_features.job.dask_cluster import dask_engine
from dem.errors import InputError
from tests.beam_features.job.conftest import PATIENCE_S, SONGS, finished, one_error_line, wait_for
from tests.processes import ROOT, messages

DASK = "--runner=dask"
BLOCKED = "import sys; sys.modules['beam_features'] = None"
OTHER_VERSION = "import dem; dem.__version__ = '0.0.1'"


@pytest.mark.parametrize(
    ("address", "words", "message"),
    [
        ("localhost:8786", [], "--dask-address must be tcp://HOST:PORT, not 'localhost:8786'"),
        ("tcp://host", [], "--dask-address must be tcp://HOST:PORT, not 'tcp://host'"),
        ("", [], "--dask-address must be tcp://HOST:PORT, not ''"),
        ("tcp://host:1", ["--direct_num_workers=2"], "those of a scheduler; give one of them"),
        (None, ["--direct_num_workers=-1"], "--direct_num_workers must be 0 (all cores) or more"),
        (None, ["--direct_num_workers=two"], "argument --direct_num_workers: invalid int value"),
        (None, ["--region=x"], "--runner=dask has no option '--region=x'; see --help"),
        (
            None,
            ["--shard=2"],
            "--runner=dask has no option '--shard=2'; see --help; did you mean '--shards'?",
        ),
    ],
)
def test_bad_options_are_refused(address, words, message):
    with pytest.raises(InputError) as refusal:
        dask_engine(address, words, ["--shards"])
    assert message in str(refusal.value)


def test_dask_that_is_not_installed_or_not_asked_for(run_job, songs, tmp_path, monkeypatch, capsys):
    output = tmp_path / "out"
    assert run_job(songs, output, "--dask-address=tcp://host:1") == 2
    assert one_error_line(capsys) == "error: --dask-address is of use with --runner=dask only"
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert run_job(songs, output, DASK) == 2
    assert "install the package with its extra 'dask'" in one_error_line(capsys)
    assert not output.exists()


def test_processes_of_this_machine(run_job, songs, features, contents, tmp_path, capsys):
    """The engine of an earlier run does not matter: there is nothing left to do."""
    output = tmp_path / "out"
    assert run_job(songs, output, DASK, "--direct_num_workers=2") == 0
    said = messages(capsys.readouterr().err)
    assert any(
        re.fullmatch(r"Dask: 2 workers, dashboard at http://127\.0\.0\.1:\d+/status", line)
        for line in said
    )
    assert contents(output) == contents(features)
    assert run_job(songs, output) == 0
    assert "already complete" in capsys.readouterr().err


def test_nobody_answers(run_job, songs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("beam_features.job.dask_cluster._CONNECT_S", 1)
    assert run_job(songs, tmp_path / "out", DASK, "--dask-address=tcp://127.0.0.1:1") == 1
    assert one_error_line(capsys).startswith(
        "error: no Dask scheduler answers at tcp://127.0.0.1:1 within 1 s; check the address, and "
        "that 'dask scheduler' runs there; finished shards are kept, the same command resumes"
    )


def test_tls_without_certificates(run_job, songs, tmp_path, capsys):
    assert run_job(songs, tmp_path / "out", DASK, "--dask-address=tls://127.0.0.1:1") == 2
    assert one_error_line(capsys).startswith("error: --dask-address tls://127.0.0.1:1: TLS expects")


class Cluster:
    """A scheduler in a process of its own; `workers` starts others."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.scheduler = self._start("scheduler", "--host=127.0.0.1", "--port=0")
        pattern = re.compile(r"Scheduler at: +(tcp://127\.0\.0\.1:\d+)")
        wait_for(lambda: pattern.search(self.log("scheduler")), "scheduler")
        self.address = pattern.findall(self.log("scheduler"))[0]

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text()

    def workers(self, number: int, before: str = "") -> subprocess.Popen[bytes]:
        """Start workers; where they run `before` first, it is one, without a nanny."""
        known = self.log("scheduler").count("Register worker")
        options = [f"--nworkers={number}", *(["--no-nanny"] if before else [])]
        worker = self._start("worker", self.address, "--nthreads=1", *options, before=before)
        count = known + number
        wait_for(lambda: self.log("scheduler").count("Register worker") >= count, "workers")
        return worker

    def _start(self, name: str, *words: str, before: str = "") -> subprocess.Popen[bytes]:
        program = f"{before}\nfrom distributed.cli.dask_{name} import main\nmain()"
        options = ["--dashboard-address=127.0.0.1:0", *words]
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", program, *options],
                cwd=self.home,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@pytest.fixture
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    """No process of it is left."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        yield cluster
    finally:
        for process in psutil.process_iter(["cwd"]):
            if process.info["cwd"] == str(cluster.home):
                process.kill()
        cluster.scheduler.wait()


def test_scheduler_elsewhere(cluster, run_job, songs, features, contents, tmp_path, capsys):
    """An error of a worker arrives in one line, and the same command resumes."""
    output, address = tmp_path / "out", f"--dask-address={cluster.address}"
    obstacle = output / "train-00000-of-00002.tfrecord"
    obstacle.mkdir(parents=True)
    (obstacle / "x").touch()
    cluster.workers(2)
    assert run_job(songs, output, DASK, address) == 1
    line = one_error_line(capsys)
    assert line.startswith(f"error: cannot write to {output}/train-00000-of-00002.tfrecord")
    assert "; finished shards are kept, the same command resumes" in line
    assert not (output / "dataset_info.json").exists()

    (obstacle / "x").unlink()
    obstacle.rmdir()
    assert run_job(songs, output, DASK, address) == 0
    assert contents(output) == contents(features)


@contextmanager
def launched(
    words: list[str], output: Path, log: Path, *more: str, cwd: Path = ROOT
) -> Iterator[psutil.Process]:
    """Launch the job with Dask; at the end, no process of it is left."""
    command = [sys.executable, "-m", "beam_features", *words, str(output), DASK, *more]
    with log.open("ab") as file:
        process = psutil.Popen(command, cwd=cwd, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        if process.is_running():
            for child in process.children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


def workers_of(launcher: psutil.Process) -> list[psutil.Process]:
    return [
        one for one in launcher.children() if "multiprocessing.spawn" in " ".join(one.cmdline())
    ]


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "log"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "message"),
    [
        (OTHER_VERSION, "has deep-embedded-music 0.0.1, the launcher "),
        (BLOCKED, "cannot import this package (No module named 'beam_features.job'; "),
        ("pass", "cannot see out; give gs:// URIs, or directories that all machines mount"),
    ],
    ids=["another version", "no package", "another directory"],
)
def test_workers_that_cannot_make_a_shard(cluster, words, tmp_path, log, before, message):
    cluster.workers(1, before)
    address = f"--dask-address={cluster.address}"
    with launched(words, Path("out"), log, address, cwd=tmp_path) as launcher:
        assert launcher.wait(PATIENCE_S) == 2
    *_, last = messages(log.read_text())
    assert last.startswith("error: the Dask worker tcp://127.0.0.1:")
    assert message in last


@pytest.mark.slow
@pytest.mark.parametrize("n_killed", [1, 2])
@pytest.mark.parametrize("shards", [0, 1, SONGS // 2])
def test_killed_workers_are_replaced(words, same, tmp_path, log, n_killed, shards):
    output = tmp_path / "out"
    with launched(words, output, log, "--direct_num_workers=2") as launcher:
        wait_for(lambda: "Dask: 2 workers" in log.read_text(), "workers")
        wait_for(lambda: len(finished(output)) >= shards, "finished shards")
        for worker in workers_of(launcher)[:n_killed]:
            worker.kill()
        assert launcher.wait(PATIENCE_S) == 0
    assert log.read_text().count("Restarting worker") == n_killed
    assert same(output)


@pytest.mark.slow
def test_a_worker_killed_while_it_starts(words, same, tmp_path, log):
    output = tmp_path / "out"
    with launched(words, output, log, "--direct_num_workers=2") as launcher:
        wait_for(lambda: workers_of(launcher), "worker")
        workers_of(launcher)[0].kill()
        assert launcher.wait(PATIENCE_S) == 1
    *_, last = messages(log.read_text())
    assert last.startswith("error: a worker process ended before it began (out of memory?); fin")
    assert main([*words, str(output)]) == 0
    assert same(output)


@pytest.mark.slow
def test_workers_killed_again_and_again_end_the_job(words, same, tmp_path, log):
    output = tmp_path / "out"
    with launched(words, output, log, "--direct_num_workers=2") as launcher:
        wait_for(lambda: finished(output), "finished shard")
        while launcher.poll() is None:
            for worker in workers_of(launcher):
                worker.kill()
            time.sleep(0.5)
        assert launcher.returncode == 1
    *_, last = messages(log.read_text())
    assert re.match(
        r"error: 4 workers were killed while they made \w+-\d{5}-of-\d{5}\.tfrecord \(out of mem",
        last,
    )
    with launched(words, output, log) as launcher:
        assert launcher.wait(PATIENCE_S) == 0
    assert same(output)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 143), (signal.SIGKILL, -9)]
)
def test_signals_end_launcher_and_workers(words, same, tmp_path, log, number, code):
    """All in the session get Ctrl-C, as from a terminal; other signals go to the launcher."""
    output = tmp_path / "out"
    with launched(words, output, log, "--direct_num_workers=2") as launcher:
        wait_for(lambda: finished(output), "finished shard")
        children = launcher.children(recursive=True)
        if number == signal.SIGINT:
            os.killpg(launcher.pid, number)
        else:
            launcher.send_signal(number)
        assert launcher.wait(PATIENCE_S / 3) == code
        _, alive = psutil.wait_procs(children, PATIENCE_S / 3)
        assert not alive
    lines = messages(log.read_text())
    stopped = "stopped: what is finished is saved; the same command resumes from there"
    assert lines[2:] == ([] if number == signal.SIGKILL else [stopped])
    assert len(finished(output)) < SONGS
    with launched(words, output, log) as launcher:
        assert launcher.wait(PATIENCE_S) == 0
    assert same(output)


@pytest.mark.slow
def test_the_scheduler_is_killed_and_another_one_begins_without_workers(
    cluster, words, same, tmp_path, log, tmp_path_factory
):
    output, address = tmp_path / "out", f"--dask-address={cluster.address}"
    cluster.workers(2)
    with launched(words, output, log, address) as launcher:
        wait_for(lambda: finished(output), "finished shard")
        cluster.scheduler.kill()
        assert launcher.wait(PATIENCE_S / 3) == 1
    *_, last = messages(log.read_text())
    assert last.startswith("error: the Dask scheduler was lost; finished shards are kept")

    another = Cluster(tmp_path_factory.mktemp("another"))
    try:
        with launched(words, output, log, f"--dask-address={another.address}") as launcher:
            wait_for(lambda: "Dask: 0 workers" in log.read_text(), "connection")
            workers = another.workers(2)
            assert launcher.wait(PATIENCE_S) == 0
        workers.terminate()
        workers.wait(PATIENCE_S)
    finally:
        another.scheduler.kill()
        another.scheduler.wait()
    assert same(output)


@pytest.mark.slow
def test_a_later_launcher_takes_over(cluster, words, same, tmp_path, log):
    output, address = tmp_path / "out", f"--dask-address={cluster.address}"
    cluster.workers(2)
    with launched(words, output, log, address) as first:
        wait_for(lambda: finished(output), "finished shard")
        with launched(words, output, tmp_path / "second", address) as second:
            assert second.wait(PATIENCE_S) == 0
        assert first.wait(PATIENCE_S) == 1
    *_, last = messages(log.read_text())
    assert "another run has taken over" in last or f"cannot write to {output}/incomplete" in last
    assert same(output)


def test_shares_of_the_plan(words, same, tmp_path):
    output = tmp_path / "out"
    command = [*words, str(output), "--shard-count=2"]
    assert main([*command, "--shard-index=0", DASK, "--direct_num_workers=2"]) == 0
    assert len(finished(output)) == SONGS // 2
    assert main([*command, "--shard-index=1"]) == 0
    assert same(output)
