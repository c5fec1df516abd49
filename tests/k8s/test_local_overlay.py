"""The rendered local overlay, run: every Job's own command, variables, settings and volumes."""

import contextlib
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import tensorflow as tf
import yaml

from dem.settings import load_settings
from dem.storage import read_text
from similarity.index.library import open_library
from tests.k8s.jobs import JobRun, run_to_the_end, run_until
from tests.k8s.manifests import Template, needs_kubectl, of_kind, rendered, rendered_run
from tests.k8s.node import Node
from trainer.config import TrainConfig

pytestmark = needs_kubectl
EPOCHS, STEPS_PER_EPOCH, TRIALS = 4, 9, 3


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(rendered("local"), tmp_path)


@pytest.fixture
def started(node: Node, tmp_path: Path) -> Iterator[Callable[..., JobRun]]:
    runs = []

    def start(name: str, *arguments: str) -> JobRun:
        """Start a Job of the overlay; with arguments of k8s/run.sh, one of another run."""
        manifests = rendered_run(*arguments) if arguments else rendered("local")
        there = Node(manifests, tmp_path) if arguments else node
        runs.append(JobRun(of_kind(manifests, "Job")[name], there))
        runs[-1].start()
        return runs[-1]

    yield start
    for one in runs:
        one.stop()


def test_a_stage_without_its_input_fails_at_once(started: Callable[[str], JobRun]) -> None:
    train = started("train")
    with pytest.raises(AssertionError, match=r"dataset_info\.json"):
        run_to_the_end(train)
    assert (train.status, train.ends_of()) == ("failed", [2])


@pytest.mark.slow
def test_the_stages_one_after_another_with_pods_preempted_and_killed(
    node: Node, started: Callable[..., JobRun]
) -> None:
    data = node.claim("data")
    first = data / "runs/first"

    run_to_the_end(started("features"))
    info = json.loads((data / "features/dataset_info.json").read_text())

    train = started("train")
    run_until((first / "job/checkpoints/ckpt-1.npz").exists, train, timeout_s=300)
    train.pod().preempt()
    run_until(lambda: train.ends_of() == [143], train, timeout_s=60)
    run_until((first / "job/checkpoints/ckpt-3.npz").exists, train, timeout_s=300)
    train.pod().run_out_of_memory()
    run_to_the_end(train)
    assert train.ends_of() == [143, 137, 0]
    assert "resuming from step" in train.ended[1].stderr
    metrics = json.loads((first / "job/metrics.json").read_text())
    assert metrics["steps"] == EPOCHS * STEPS_PER_EPOCH

    run_to_the_end(started("classify"))
    scores = json.loads((first / "job/classifier/trained-logistic/metrics.json").read_text())
    assert scores["tile"]["macro_f1"] > 0.25  # a small encoder, four epochs; 0.125 by chance

    run_to_the_end(started("embed"))
    run_to_the_end(started("index"))
    with open_library(str(first / "index")) as library:
        assert len(library) == sum(part["recordings"] for part in info["partitions"].values())
        assert set(library.column("label")) == set(info["label_names"])

    run_to_the_end(started("report"))
    assert "Nearest neighbours" in (first / "job/report.html").read_text()

    chief, workers = started("tune-chief"), started("tune-workers")
    run_until(
        lambda: any(first.glob("search/trials/*/checkpoints/ckpt-1.npz")),
        chief,
        workers,
        timeout_s=300,
    )
    workers.pod(0).run_out_of_memory()
    workers.pod(1).preempt()
    run_to_the_end(chief, workers)
    assert chief.ends_of() == [0]
    assert workers.ends_of(0) == [137, 0]
    assert workers.ends_of(1) == [143, 0]
    trials = pd.read_csv(first / "search/trials.csv")
    assert trials.status.tolist() == ["completed"] * TRIALS
    load_settings(TrainConfig, str(first / "search/best_config.yaml"), [], read_text)

    before = (first / "job/metrics.json").read_bytes()
    best = "TRAIN_CONFIG=/data/runs/first/search/best_config.yaml"
    tuned = started("train", "--overlay", "local", "tuned", "train", best)
    run_to_the_end(tuned)
    assert tuned.ends_of() == [0]
    found, used = (
        yaml.safe_load((data / "runs" / file).read_text())
        for file in ("first/search/best_config.yaml", "tuned/job/config.yaml")
    )
    assert used["margin"] == found["margin"]
    assert json.loads((data / "runs/tuned/job/metrics.json").read_text())["steps"] > 0
    assert (first / "job/metrics.json").read_bytes() == before


def test_tensorboard_is_ready_and_shows_all_runs_of_the_volume(node: Node) -> None:
    pod = Template(of_kind(rendered("local"), "Deployment")["tensorboard"])
    (port,) = of_kind(rendered("local"), "Service")["tensorboard"]["spec"]["ports"]
    address = f"127.0.0.1:{port['port']}"
    if answers(address, "/"):
        pytest.skip(f"something else listens at {address}")
    losses = {"first": 0.5, "second": 0.25}
    for run, loss in losses.items():
        logs = node.claim("data") / "runs" / run / "job/logs"
        with tf.summary.create_file_writer(str(logs)).as_default():
            tf.summary.scalar("loss", loss, step=1)
    board = node.start(pod, 0)
    try:
        probe = pod.container["readinessProbe"]["httpGet"]["path"]
        scalars = "/data/plugin/scalars/scalars?tag=loss&run={}/job/logs"
        deadline = time.monotonic() + 120
        for run, loss in losses.items():
            while not (answers(address, probe) and answers(address, scalars.format(run))):
                assert board.exit_code is None, board.stderr
                assert time.monotonic() < deadline, board.stderr
                time.sleep(0.5)
            assert json.loads(answers(address, scalars.format(run)))[0][1:] == [1, loss]
        board.terminate(disrupted=False)
        board.process.wait(board.grace_s)
    finally:
        board.run_out_of_memory()


def answers(address: str, path: str) -> str:
    """What a web server says; nothing where it says no, or there is none."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}{path}") as answer:
        return str(answer.read().decode())
    return ""
