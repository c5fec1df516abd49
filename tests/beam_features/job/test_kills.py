"""Jobs that are killed while they work: the next run makes what is missing, once."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beam_features.__main__ import main
from tests.beam_features.conftest import write_noise
from tests.beam_features.job.conftest import (
    PATIENCE_S,
    SONGS,
    files_of,
    finished,
    tiles_in,
    wait_for,
)
from tests.processes import messages, run


@pytest.fixture
def start(words, tmp_path) -> Callable[..., subprocess.Popen[bytes]]:
    """Start the job with worker processes; what it prints goes to ``tmp_path/log``."""

    def start(output: Path, workers: int = 2) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "beam_features", *words, str(output)]
        with (tmp_path / "log").open("wb") as log:
            return subprocess.Popen(
                [*command, f"--direct_num_workers={workers}"],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    return start


def reading(output: Path) -> list[Path]:
    return list(output.glob("incomplete/run-*/*/*.tmp"))


def workers_of(launcher: int) -> list[int]:
    """The worker processes in the session of the launcher, and the process that forks them."""
    lines = subprocess.check_output(["ps", "-ewwo", "pid,sid,stat,args"], text=True).splitlines()[
        1:
    ]
    fields = [line.split(maxsplit=3) for line in lines]
    return [
        int(pid)
        for pid, session, state, command in fields
        if int(session) == launcher and "beam_features.job.fork" in command and state[0] != "Z"
    ]


def stop_within_a_shard(workers: list[int], output: Path, shards: int = 1) -> None:
    def stopped() -> bool:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        if len(reading(output)) >= shards:
            return True
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        return False

    wait_for(stopped, "worker within a shard")


@contextmanager
def ended(launcher: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave no process of the launcher's session, whatever the test finds."""
    try:
        yield
    finally:
        for pid in workers_of(launcher.pid):
            os.kill(pid, signal.SIGKILL)
        launcher.kill()
        launcher.wait()


def test_each_signal_stops_the_job_and_the_same_command_resumes(
    start, words, same, tmp_path, capsys
):
    """Each time after a further shard: SIGKILL, SIGTERM, Ctrl-C; then a run completes the rest."""
    output, made = tmp_path / "out", 0
    for number, code in ((signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 143)):
        launcher = start(output, workers=1)
        wait_for(lambda before=made: len(finished(output)) > before, "finished shard")
        launcher.send_signal(number)
        assert launcher.wait(PATIENCE_S) == code
        first, *lines = messages((tmp_path / "log").read_text())
        assert first == f"{SONGS} shards, {made} of them finished by an earlier run"
        stopped = "stopped: what is finished is saved; the same command resumes from there"
        assert lines == ([] if number == signal.SIGKILL else [stopped])
        made = len(finished(output))
    assert made < SONGS
    assert not (output / "dataset_info.json").exists()
    assert main([*words, str(output)]) == 0
    first, *_ = messages(capsys.readouterr().err)
    assert first == f"{SONGS} shards, {made} of them finished by an earlier run"
    assert same(output)


def test_workers_that_outlive_their_launcher_and_the_next_run(
    start, words, undisturbed, same, tmp_path
):
    """The worst moment: asleep within a shard, they wake when the next run is complete."""
    output = tmp_path / "out"
    launcher = start(output)
    with ended(launcher):
        wait_for(lambda: len(finished(output)) > 1, "finished shard")
        workers = workers_of(launcher.pid)
        stop_within_a_shard(workers, output)
        launcher.kill()
        launcher.wait()
        assert len(workers) == 3
        assert len(finished(output)) < SONGS

        two_more = ["--runner=DirectRunner", "--direct_num_workers=2"]
        assert main([*words, str(output), *two_more]) == 0
        assert same(output)
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        wait_for(lambda: not workers_of(launcher.pid), "end of the workers")
        assert same(output)


def forked_by(launcher: int) -> list[int]:
    """The worker processes alone, in the order of their start."""
    children = "/proc/{0}/task/{0}/children"
    servers = Path(children.format(launcher)).read_text().split()
    return [int(pid) for s in servers for pid in Path(children.format(s)).read_text().split()]


MOMENTS: dict[str, Callable[[Path], object]] = {
    "it has started": lambda output: True,
    "it reads": reading,
    "the first shard": finished,
    "half of the shards": lambda output: len(finished(output)) >= SONGS // 2,
}
SLOW_MOMENTS = [
    pytest.param(name, marks=pytest.mark.slow) for name in MOMENTS if name != "it reads"
]


@pytest.mark.parametrize("moment", ["it reads", *SLOW_MOMENTS])
def test_one_worker_killed(start, words, same, tmp_path, moment):
    """As the kernel does where memory runs out: the job ends within seconds and says why."""
    output = tmp_path / "out"
    launcher = start(output)
    with ended(launcher):
        wait_for(lambda: len(forked_by(launcher.pid)) == 2, "two workers")
        wait_for(lambda: MOMENTS[moment](output), moment)
        if moment == "it reads":
            stop_within_a_shard(forked_by(launcher.pid), output, shards=2)
        os.kill(forked_by(launcher.pid)[0], signal.SIGKILL)
        assert launcher.wait(PATIENCE_S / 3) == 1
        wait_for(lambda: not workers_of(launcher.pid), "end of the workers")
    log = (tmp_path / "log").read_text()
    *_, last = messages(log)
    assert len(log.splitlines()) == 2, log
    assert last.startswith("error: a worker process was killed by SIGKILL (out of memory?)")
    assert "; finished shards are kept, the same command resumes" in last
    if moment == "it reads":
        assert re.search(r" while it read .*\w+-\d{5}-of-\d{5}\.tfrecord", last), last
    assert len(finished(output)) < SONGS
    assert main([*words, str(output)]) == 0
    assert same(output)


@pytest.mark.slow
def test_process_that_forks_workers_killed(start, same, tmp_path):
    output = tmp_path / "out"
    launcher = start(output)
    with ended(launcher):
        wait_for(lambda: finished(output), "finished shard")
        (server,) = set(workers_of(launcher.pid)) - set(forked_by(launcher.pid))
        os.kill(server, signal.SIGKILL)
        assert launcher.wait(PATIENCE_S / 3) == 1
    *_, last = messages((tmp_path / "log").read_text())
    assert last.startswith("error: the process that starts workers was killed by SIGKILL")
    again = start(output)
    with ended(again):
        assert again.wait(PATIENCE_S) == 0
    assert same(output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_launcher_killed_alone_and_started_again_at_once(start, same, tmp_path, seed):
    output = tmp_path / "out"
    launcher = start(output)
    with ended(launcher):
        shards = random.Random(seed).randint(1, SONGS // 2)
        wait_for(lambda: len(finished(output)) >= shards, "finished shards")
        launcher.kill()
        assert launcher.wait() == -signal.SIGKILL
        again = start(output)
        with ended(again):
            assert again.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
        assert same(output)
        wait_for(lambda: not workers_of(launcher.pid), "end of the workers")
        assert same(output)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_all_processes_killed_again_and_again(start, same, tmp_path, seed):
    """At any moment: while Python starts, while workers do, within shards."""
    output = tmp_path / "out"
    randomness = random.Random(seed)
    for _ in range(5):
        launcher = start(output)
        with ended(launcher):
            time.sleep(randomness.uniform(1, 6))
            os.killpg(launcher.pid, signal.SIGKILL)
            launcher.wait()
    last = start(output)
    with ended(last):
        assert last.wait(PATIENCE_S) == 0, (tmp_path / "log").read_text()
    assert same(output)


# Updates


@pytest.fixture(scope="module")
def updated(make_songs, run_job, tmp_path_factory) -> tuple[Path, Path, Path]:
    """A library that has changed, its features from before, and from an undisturbed update."""
    root = tmp_path_factory.mktemp("updated")
    library = make_songs(root / "songs")
    assert run_job(library, root / "before") == 0
    write_noise(library / "rain/77.wav", 2.0, 16_000, seed=77)
    write_noise(library / "dog/1.wav", 2.5, 16_000, seed=99)
    (library / "dog/3 [live].wav").unlink()
    shutil.copytree(root / "before", root / "after")
    assert run_job(library, root / "after") == 0
    assert run_job(library, root / "fresh") == 0
    assert tiles_in(root / "after") == tiles_in(root / "fresh")
    return library, root / "before", root / "after"


def killed_at_every(step: int, library: Path, output: Path, copies: Path) -> list[Path]:
    """What updates leave that were killed before their changes of the output."""
    words = ["--dataset", "folder", "--input", str(library), "--shards", "2"]
    finished = run("tests.beam_features.job.suicide", output, copies, step, *words)
    assert finished.returncode == 0, finished.stderr
    return sorted(copies.iterdir(), key=lambda path: int(path.name))


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_update_killed_at_any_change_leaves_the_old_or_the_new_state(
    step, updated, run_job, tmp_path
):
    library, before, after = updated
    old, new = tiles_in(before), tiles_in(after)
    *killed, last = killed_at_every(step, library, before, tmp_path)
    assert len(killed) > 25 / step
    assert tiles_in(last) == new
    found = [tiles_in(output) for output in killed]
    assert found[0] == old
    assert all(tiles in (old, new) for tiles in found)
    for output in killed:
        assert run_job(library, output) == 0
        assert tiles_in(output) == new
        assert {path.name for path in output.iterdir()} == files_of(output)


@pytest.mark.slow
def test_killed_update_followed_by_another_change(updated, run_job, tmp_path):
    """The library is as it was before when the next run begins."""
    library, before, _ = updated
    killed = killed_at_every(5, library, before, tmp_path / "killed")
    changed = Path(shutil.copytree(library, tmp_path / "kept"))
    try:
        write_noise(library / "rain/78.wav", 2.0, 16_000, seed=78)
        (library / "rain/77.wav").unlink()
        assert run_job(library, tmp_path / "fresh") == 0
        for output in killed:
            assert run_job(library, output) == 0
            assert tiles_in(output) == tiles_in(tmp_path / "fresh")
            assert {path.name for path in output.iterdir()} == files_of(output)
    finally:
        shutil.rmtree(library)
        shutil.copytree(changed, library)


@pytest.mark.slow
def test_first_run_killed_at_any_change(updated, run_job, tmp_path):
    library, _, after = updated
    (tmp_path / "empty").mkdir()
    for output in killed_at_every(3, library, tmp_path / "empty", tmp_path / "killed"):
        assert run_job(library, output) == 0
        assert tiles_in(output) == tiles_in(after)
        assert {path.name for path in output.iterdir()} == files_of(output)
