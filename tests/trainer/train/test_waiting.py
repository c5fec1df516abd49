"""Hosts that wait for another one, wherever it pauses: SIGTERM ends them, and a loss is noticed."""

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.cluster import finish, run_workers, start_workers
from tests.trainer.jobs import train_command, train_words
from tests.trainer.train.pausing import PAUSED

pytestmark = pytest.mark.slow

LIMIT_S = 20.0
START = "trainer.train.run:make_strategy:0"  # of TensorFlow's service, after the hosts have met
FILL = "trainer.train.run:open_corpus:0"  # of the frame store
STEPS = "trainer.train.loop:_make_steps:9"  # in the middle of the training
ALWAYS = "600"


def start_two(
    features: Path, job: Path, pausing: int, how: str, place: str, *settings: str
) -> list[subprocess.Popen[str]]:
    """Start two hosts; return once the one that is to pause has."""
    commands: list[Sequence[object]] = [train_command(features, job, *settings)] * 2
    words = train_words(features, job, *settings)
    commands[pausing] = ("tests.trainer.train.pausing", how, place, *words)
    hosts = start_workers(*commands)
    stderr = hosts[pausing].stderr
    assert stderr
    assert any(line.strip() == PAUSED for line in stderr)
    time.sleep(2)  # the other waits now
    return hosts


def ends(host: subprocess.Popen[str], *others: subprocess.Popen[str]) -> tuple[float, str]:
    """Seconds until a host has ended, and what it said; the others are killed."""
    begin = time.monotonic()
    try:
        host.wait(300)
        return time.monotonic() - begin, finish(host).stderr
    finally:
        for other in others:
            other.kill()
            finish(other)


@pytest.mark.parametrize("waiting", [0, 1])
@pytest.mark.parametrize("place", [START, FILL, STEPS])
def test_sigterm_ends_a_host_that_waits(
    features_dir: Path, tmp_path: Path, place: str, waiting: int
) -> None:
    """The checkpoint stays whole, so that all go on from it."""
    job = tmp_path / "job"
    hosts = start_two(features_dir, job, 1 - waiting, ALWAYS, place)
    hosts[waiting].send_signal(signal.SIGTERM)
    took_s, said = ends(hosts[waiting], hosts[1 - waiting])
    assert hosts[waiting].returncode == 143, said
    assert took_s < LIMIT_S
    assert "stopped: it waited for other hosts; the last checkpoint is kept" in said
    if place == STEPS and waiting == 0:
        again = run_workers(*[train_command(features_dir, job)] * 2)
        assert [end.returncode for end in again] == [0, 0], again[0].stderr
        assert "resuming from step " in again[0].stderr


@pytest.mark.parametrize("waiting", [0, 1])
@pytest.mark.parametrize("place", [FILL, STEPS])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_loss_of_the_host_that_others_wait_for_is_noticed(
    features_dir: Path, tmp_path: Path, how: signal.Signals, place: str, waiting: int
) -> None:
    hosts = start_two(features_dir, tmp_path / "job", 1 - waiting, ALWAYS, place)
    lost = hosts[1 - waiting]
    lost.send_signal(how)
    took_s, said = ends(hosts[waiting], lost)
    assert lost.returncode == (143 if how is signal.SIGTERM else -9)
    assert hosts[waiting].returncode == 3, said
    assert took_s < 60
    assert "lost another of the 2 workers" in said


def test_a_host_that_is_lost_before_the_others_have_joined_it_is_noticed(
    features_dir: Path, tmp_path: Path
) -> None:
    hosts = start_two(features_dir, tmp_path / "job", 1, ALWAYS, START)
    hosts[1].kill()
    took_s, said = ends(*hosts)
    assert hosts[0].returncode == 3
    assert 100 < took_s < 130
    assert "error: another host did not start within 120 s" in said


@pytest.mark.parametrize("waiting", [0, 1])
def test_a_host_that_is_frozen_is_noticed(features_dir: Path, tmp_path: Path, waiting: int) -> None:
    """Its process answers nothing, like a machine that hangs."""
    hosts = start_two(features_dir, tmp_path / "job", 1 - waiting, "stop", STEPS)
    took_s, said = ends(hosts[waiting], hosts[1 - waiting])
    assert hosts[waiting].returncode == 3, said
    assert took_s < 60
    assert "lost another of the 2 workers" in said


def test_a_host_that_saves_for_long_is_left_alone(features_dir: Path, tmp_path: Path) -> None:
    """Storage takes 14 s to write; the other host, which has nothing to save, waits for 10."""
    job = tmp_path / "job"
    writing = "trainer.train.checkpoints:_write:0"
    hosts = start_workers(
        (
            *("tests.trainer.train.pausing", "14", writing),
            *train_words(features_dir, job, "steps_per_epoch=100000"),
        ),
        train_command(features_dir, job, "steps_per_epoch=100000"),
    )
    said = hosts[0].stderr
    assert said
    assert any("training on" in line for line in said)
    time.sleep(10)  # it traces, and makes steps
    for host in hosts:
        host.send_signal(signal.SIGTERM)
    chief, other = (finish(host) for host in hosts)
    assert (chief.returncode, other.returncode) == (143, 143), chief.stderr
    (checkpoint,) = (job / "checkpoints").iterdir()
    with np.load(checkpoint) as arrays:
        step = int(arrays["progress/step"])
    assert f"stopped: state saved at step {step} of" in chief.stderr
