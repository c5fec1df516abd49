"""A chief and workers as processes on this machine, some of which are killed."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster import free_ports
from tests.processes import error_line, messages
from tests.tuning.searches import (
    COLLAPSING,
    FAILURES,
    MARGINS,
    TOKEN,
    UNFITTING,
    Cluster,
    finish_all,
    run_here,
    said_until,
    settings,
    trials_of,
)

QUICK = ("worker_deadline_s=8", "abandon_after_s=120")


@pytest.fixture
def cluster(features_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    """Build the cluster of a search; its processes end with the test."""
    built = []

    def build(*words: str, **fixed: object) -> Cluster:
        built.append(Cluster(features_dir, tmp_path / "job", settings(*QUICK, *words, **fixed)))
        return built[-1]

    yield build
    for process in psutil.Process().children(recursive=True):
        if "tuning" in " ".join(process.cmdline()):
            process.kill()


def begun(stderr: str) -> list[str]:
    """Ids of the trials that a worker has started."""
    lines = [line for line in messages(stderr) if line.startswith("trial ")]
    return [line.split()[1].rstrip(":") for line in lines if ": margin=" in line]


@pytest.mark.slow
def test_workers_wait_for_the_chief_share_the_trials_and_all_end(cluster) -> None:
    """A worker that starts after the end of the search exits at once."""
    search = cluster(MARGINS, "trials=4")
    workers = [search.start(f"worker-{index}") for index in range(2)]
    time.sleep(8)  # they are there before the chief
    chief = search.start("chief")
    ended = finish_all(chief, *workers)
    assert [process.returncode for process in ended] == [0, 0, 0], [p.stderr for p in ended]
    trials = trials_of(search.job)
    assert list(trials["status"]) == ["completed"] * 4
    assert set(trials["worker"]) == {"worker-0", "worker-1"}
    assert sorted(begun(ended[1].stderr) + begun(ended[2].stderr)) == list("0123")
    assert "best_config.yaml" in ended[0].stdout
    late = search.start("worker-2")
    begin = time.monotonic()
    assert finish_all(late)[0].returncode == 0
    assert time.monotonic() - begin < 60


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_trial_and_holds_nobody_up(cluster) -> None:
    """It sends no last message, and no process replaces it."""
    search = cluster(MARGINS, "trials=2", epochs=80)
    chief, victim = search.start("chief"), search.start("worker-0")
    said_until(victim, "epoch 5/80")
    other = search.start("worker-1")
    said_until(other, "trial 1: ")
    victim.kill()
    ended = finish_all(chief, other, victim)
    assert [process.returncode for process in ended[:2]] == [0, 0], [p.stderr for p in ended]
    assert "no heartbeat from worker worker-0: trial 0 will be reassigned" in ended[0].stderr
    trials = trials_of(search.job)
    assert list(trials["status"]) == ["completed"] * 2
    assert set(trials["worker"]) == {"worker-1"}
    assert "resuming from step " in ended[1].stderr


@pytest.mark.slow
def test_a_worker_that_comes_back_gets_its_own_trial(cluster) -> None:
    search = cluster(MARGINS, "trials=2", "worker_deadline_s=100", epochs=80)
    chief, victim = search.start("chief"), search.start("worker-0")
    said_until(victim, "epoch 5/80")
    victim.kill()
    back = search.start("worker-0")
    said_until(back, "trial 0: ")
    ended = finish_all(chief, back, victim)
    assert [process.returncode for process in ended[:2]] == [0, 0], [p.stderr for p in ended]
    assert "will be reassigned" not in ended[0].stderr
    assert "resuming from step " in ended[1].stderr
    assert list(trials_of(search.job)["status"]) == ["completed"] * 2


@pytest.mark.slow
def test_a_worker_of_another_name_takes_the_trial_after_the_deadline(cluster) -> None:
    search = cluster(MARGINS, "trials=1", epochs=80)
    chief, victim = search.start("chief"), search.start("worker-0")
    said_until(victim, "epoch 5/80")
    victim.kill()
    heir = search.start("worker-of-another-pod")
    ended = finish_all(chief, heir, victim)
    assert [process.returncode for process in ended[:2]] == [0, 0], [p.stderr for p in ended]
    trials = trials_of(search.job)
    assert list(trials["worker"]) == ["worker-of-another-pod"]
    assert list(trials["status"]) == ["completed"]


@pytest.mark.slow
def test_a_stopped_worker_hands_its_trial_over_at_once(cluster) -> None:
    """SIGTERM, as a pod gets before it is preempted."""
    search = cluster(MARGINS, "trials=1", "worker_deadline_s=100", epochs=80)
    chief, first = search.start("chief"), search.start("worker-0")
    said_until(first, "epoch 5/80")
    second = search.start("worker-1")
    said_until(second, "worker worker-1, asking")
    first.terminate()
    ended = finish_all(chief, second, first)
    assert [process.returncode for process in ended] == [0, 0, 143], [p.stderr for p in ended]
    assert "resuming from step " in ended[1].stderr


@pytest.mark.slow
def test_a_restarted_chief_goes_on_and_its_worker_notices_nothing(cluster) -> None:
    search = cluster(MARGINS, "trials=2", "worker_deadline_s=100", epochs=80)
    chief, worker = search.start("chief"), search.start("worker-0")
    said_until(worker, "epoch 5/80")
    chief.kill()
    again = search.start("chief")
    ended = finish_all(again, worker, chief)
    assert [process.returncode for process in ended[:2]] == [0, 0], [p.stderr for p in ended]
    assert "will be reassigned" not in ended[0].stderr
    assert begun("trial 0: margin=\n" + ended[1].stderr) == ["0", "1"]  # each once
    assert list(trials_of(search.job)["status"]) == ["completed"] * 2


@pytest.mark.slow
def test_failures_in_a_row_end_nothing(cluster) -> None:
    search = cluster(*FAILURES, **COLLAPSING)
    ended = finish_all(search.start("chief"), search.start("worker-0"))
    assert [process.returncode for process in ended] == [0, 0], [p.stderr for p in ended]
    statuses = trials_of(search.job).set_index("learning_rate")["status"]
    assert dict(statuses) == {0.0001: "completed"} | dict.fromkeys((1.0, 2.0, 3.0), "failed")


@pytest.mark.slow
def test_a_bad_space_stops_everybody_with_exit_2(cluster) -> None:
    """Found by a trial, because each value is valid by itself."""
    search = cluster(*UNFITTING, epochs=40)
    ended = finish_all(*(search.start(name) for name in ("chief", "worker-0", "worker-1")))
    assert [process.returncode for process in ended] == [2, 2, 2], [p.stderr for p in ended]
    assert all("projection_hidden=16 without a projection" in error_line(p) for p in ended)


@pytest.fixture
def be(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Give this process a role, by its id and the chief's port."""

    def set_role(tuner_id: str, port: str) -> None:
        monkeypatch.setenv("KERASTUNER_TUNER_ID", tuner_id)
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", port)
        monkeypatch.setenv("DEM_SEARCH_TOKEN", TOKEN)

    return set_role


@pytest.mark.parametrize("tuner_id", ["chief", "worker-0"])
def test_chief_and_worker_both_refuse_a_bad_space(
    features_dir: Path, tmp_path: Path, be, capsys: pytest.CaptureFixture[str], tuner_id: str
) -> None:
    """The worker does not wait for a chief that has exited."""
    be(tuner_id, str(free_ports(1)[0]))
    assert run_here(features_dir, tmp_path / "job", settings("space.margn=3")) == 2
    assert "error: space: unknown key 'margn'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tuner_id", "message"),
    [
        ("chief", "no heartbeat from any worker for 1 s"),
        ("worker-0", "no chief answered at 127.0.0.1:"),
    ],
)
def test_chief_and_worker_do_not_wait_forever(
    features_dir: Path,
    tmp_path: Path,
    be,
    capsys: pytest.CaptureFixture[str],
    tuner_id: str,
    message: str,
) -> None:
    be(tuner_id, str(free_ports(1)[0]))
    words = settings("worker_deadline_s=1", "abandon_after_s=1", MARGINS)
    assert run_here(features_dir, tmp_path / "job", words) == 1
    assert f"error: {message}" in capsys.readouterr().err


def test_an_address_in_use_is_refused(
    features_dir: Path, tmp_path: Path, be, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        be("chief", str(other.getsockname()[1]))
        assert run_here(features_dir, tmp_path / "job", settings(MARGINS)) == 2
    assert "error: cannot listen on 127.0.0.1:" in capsys.readouterr().err
