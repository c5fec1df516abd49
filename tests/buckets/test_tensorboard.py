"""One TensorBoard over the runs of a bucket, as the Deployment and docs/cloud.md start it."""

import json
import re
import shlex
import time
import urllib.request
from typing import Any

import pytest

from tests.buckets.commands import features_command, run_in, start_in, train_command
from tests.buckets.storage_service import StorageService
from tests.cluster import free_ports
from tests.k8s.containers import command_line, environment
from tests.k8s.manifests import Template, needs_kubectl, of_kind, rendered
from tests.processes import ROOT

RUNS = {"first": 2, "second": 3}  # and their epochs
STEPS_PER_EPOCH = 5
LOGS = "--logdir=gs://{}/runs", "--load_fast=false"


def documented(bucket: str) -> list[str]:
    """Words behind ``tensorboard`` in docs/cloud.md."""
    text = (ROOT / "docs/cloud.md").read_text()
    (line,) = re.findall(r"`tensorboard (--logdir gs://BUCKET/runs[^`]*)`", text)
    return shlex.split(line.replace("BUCKET", bucket))


def deployed(bucket: str) -> list[str]:
    """Arguments of the container on GKE, with the bucket of a test."""
    board = Template(of_kind(rendered("gke"), "Deployment")["tensorboard"])
    variables = environment(board.container, of_kind(rendered("gke"), "ConfigMap"), {})
    words = command_line(board.container, variables | {"ROOT": f"gs://{bucket}"})
    assert words[:3] == ["python", "-m", "tensorboard.main"]
    return words[3:]


def test_the_page_says_what_is_deployed() -> None:
    logdir, load_fast = LOGS
    assert documented("b") == [*logdir.format("b").split("="), load_fast]


@needs_kubectl
def test_the_deployment_shows_the_directory_of_all_runs() -> None:
    assert deployed("b")[:2] == [word.format("b") for word in LOGS]


@pytest.mark.slow
@needs_kubectl
def test_it_shows_the_scalars_of_two_runs(gcs: StorageService, bucket: str) -> None:
    """As trained, in ``ROOT/runs/RUN/job``: each run's own steps and its last `recall_at_1`."""
    made = run_in(gcs, *features_command(f"gs://{bucket}/features"))
    assert made.returncode == 0, made.stderr
    for run, epochs in RUNS.items():
        settings = f"epochs={epochs}", f"steps_per_epoch={STEPS_PER_EPOCH}"
        job = f"gs://{bucket}/runs/{run}/job"
        trained = run_in(gcs, *train_command(f"gs://{bucket}/features", job, *settings))
        assert trained.returncode == 0, trained.stderr
    (port,) = free_ports(1)
    words = [word for word in deployed(bucket) if not word.startswith("--port")]
    board = start_in(gcs, "tensorboard.main", *words, "--port", port)
    try:
        for run, epochs in RUNS.items():
            steps = [STEPS_PER_EPOCH * epoch for epoch in range(1, epochs + 1)]
            points = wait_for(port, f"run={run}/job/logs&tag=recall_at_1", len(steps))
            assert [step for _, step, _ in points] == steps
            metrics = json.loads(gcs.read(bucket, f"runs/{run}/job/metrics.json"))
            assert points[-1][2] == pytest.approx(metrics["recall_at_1"], abs=1e-6)
        shown = {run for run, tags in ask(port, "tags").items() if "recall_at_1" in tags}
        assert shown == {f"{run}/job/logs" for run in RUNS}
    finally:
        board.kill()
        board.communicate()


def wait_for(port: int, curve: str, count: int) -> list[list[float]]:
    """Time, step and value of each point, once so many are there."""
    deadline = time.monotonic() + 120
    while len(points := ask(port, f"scalars?{curve}") or []) < count:
        assert time.monotonic() < deadline, points
        time.sleep(0.5)
    return points


def ask(port: int, question: str) -> Any:
    """What the scalars' page asks; None while it has not started, or not found the curve."""
    url = f"http://127.0.0.1:{port}/data/plugin/scalars/{question}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except OSError:
        return None
