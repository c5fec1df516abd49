"""All stages on ``gs://`` URIs, one after the other, as a user or a cluster starts them."""

import json
import time
import urllib.request
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from tests.buckets.commands import (
    features_command,
    run_in,
    start_in,
    train_command,
)
from tests.buckets.storage_service import StorageService
from tests.cluster import free_ports
from tests.processes import error_line
from tests.tuning.searches import MARGINS, finish_all, said_until, settings

pytestmark = pytest.mark.slow

EPOCHS, STEPS_PER_EPOCH = 3, 20
JOB = "job[1] a"  # a pattern to TensorFlow
_JOB = quote(JOB)  # in URLs


@pytest.fixture(scope="module")
def place(gcs: StorageService) -> str:
    """Name of a bucket that all stages share."""
    return gcs.new_bucket()


@pytest.fixture(scope="module")
def features(gcs: StorageService, place: str) -> str:
    uri = f"gs://{place}/features"
    finished = run_in(gcs, *features_command(uri))
    assert finished.returncode == 0, finished.stderr
    assert gcs.log_of(place, "plain")
    return uri


@pytest.fixture(scope="module")
def job(gcs: StorageService, place: str, features: str) -> str:
    """A training that was killed after its first epoch and went on."""
    uri = f"gs://{place}/{JOB}"
    command = train_command(features, uri, f"epochs={EPOCHS}", f"steps_per_epoch={STEPS_PER_EPOCH}")
    process = start_in(gcs, *command)
    said_until(process, "epoch 2/")
    process.kill()
    process.communicate()
    assert f"{JOB}/metrics.json" not in gcs.names(place)
    begin = time.monotonic()
    finished = run_in(gcs, *command)
    assert finished.returncode == 0, finished.stderr
    assert "resuming from step " in finished.stderr
    assert time.monotonic() - begin < 60  # it did not wait for the lease of the killed process
    return uri


def as_json(gcs: StorageService, bucket: str, name: str) -> Any:
    return json.loads(gcs.read(bucket, name))


def test_features_are_complete_and_a_second_run_says_so(
    gcs: StorageService, place: str, features: str
) -> None:
    names = gcs.names(place, "features/")
    info = as_json(gcs, place, "features/dataset_info.json")
    assert sum(part["recordings"] for part in info["partitions"].values()) == 176
    assert len([name for name in names if name.endswith(".tfrecord")]) == 6
    assert not [name for name in names if "incomplete" in name or name.endswith(".tmp")]
    again = run_in(gcs, *features_command(features))
    assert again.returncode == 0, again.stderr
    assert "already complete, nothing to do" in again.stderr


def test_a_training_that_was_killed_goes_on(gcs: StorageService, place: str, job: str) -> None:
    metrics = as_json(gcs, place, f"{JOB}/metrics.json")
    assert metrics["steps"] == EPOCHS * STEPS_PER_EPOCH
    assert 0 <= metrics["recall_at_1"] <= 1
    names = gcs.names(place, f"{JOB}/")
    assert f"{JOB}/export/saved_model/saved_model.pb" in names
    assert 1 <= len([name for name in names if "/checkpoints/ckpt-" in name]) <= 2
    assert not [name for name in names if name.endswith(".tmp")]
    written = [one for one in gcs.log_of(place, "tls") if one.method in ("POST", "PUT")]
    assert any(f"{_JOB}%2Flogs" in one.path for one in written)
    read = [one for one in gcs.log_of(place, "tls") if one.method == "GET"]
    assert any("features%2Ftrain-" in one.path for one in read)
    ours = [one.path for one in gcs.log_of(place, "plain") if f"{_JOB}%2F" in one.path]
    assert not [path for path in ours if ".tfevents." in path]
    assert any("ckpt-" in path for path in ours)


def test_audio_is_embedded_by_the_model_in_the_bucket(
    gcs: StorageService, place: str, features: str, job: str
) -> None:
    output = f"gs://{place}/vectors"
    words = ("--model", job, "--data", features, "--partitions", "test", "--output", output)
    finished = run_in(gcs, "trainer.embed", *words)
    assert finished.returncode == 0, finished.stderr
    assert "vectors/test.parquet" in gcs.names(place, "vectors/")


def test_a_second_training_is_refused_while_the_first_lives(
    gcs: StorageService, place: str, features: str
) -> None:
    uri = f"gs://{place}/shared"
    command = train_command(features, uri, "epochs=1000", "steps_per_epoch=20")
    first = start_in(gcs, *command)
    said_until(first, "epoch 1/")
    second = run_in(gcs, *command)
    assert second.returncode == 1
    assert f"{uri} is in use by process {first.pid} on " in error_line(second)
    first.terminate()
    _, said = first.communicate()
    assert first.returncode == 143, said
    assert "shared/lease.json" not in gcs.names(place, "shared/")


def test_the_classifier_is_written_beside_it(
    gcs: StorageService, place: str, features: str, job: str
) -> None:
    finished = run_in(gcs, "trainer.classify", "--data", features, "--job-dir", job)
    assert finished.returncode == 0, finished.stderr
    assert "trained-logistic" in finished.stdout
    scores = as_json(gcs, place, f"{JOB}/classifier/trained-logistic/metrics.json")
    assert 0 < scores["recording"]["macro_f1"] <= 1
    names = set(gcs.names(place, f"{JOB}/classifier/trained-logistic/"))
    assert {
        f"{JOB}/classifier/trained-logistic/{name}"
        for name in ("predictions.csv", "confusion_matrix.png", "model/model.json")
    } <= names


def test_tensorboard_shows_the_scalars_of_the_bucket(
    gcs: StorageService, place: str, job: str
) -> None:
    """Asked over HTTP, as its page does; both processes' points are there, each step once."""
    begin, (port,) = len(gcs.log_of(place, "tls")), free_ports(1)
    server = start_in(
        gcs,
        *("tensorboard.main", "--logdir", f"{job}/logs", "--port", port),
        *("--host", "127.0.0.1", "--load_fast=false"),
    )
    steps = [STEPS_PER_EPOCH * epoch for epoch in range(1, EPOCHS + 1)]
    points: list[list[float]] = []
    try:
        deadline = time.monotonic() + 120
        while [step for _, step, _ in points] != steps:
            points = recall_points(port)
            assert time.monotonic() < deadline, f"TensorBoard shows {points}"
            time.sleep(0.5)
    finally:
        server.kill()
        server.communicate()
    metrics = as_json(gcs, place, f"{JOB}/metrics.json")
    assert points[-1][2] == pytest.approx(metrics["recall_at_1"], abs=1e-6)
    assert len(gcs.log_of(place, "tls")) > begin


def recall_points(port: int) -> list[list[float]]:
    """Time, step and value of each point that TensorBoard has found so far."""
    url = f"http://127.0.0.1:{port}/data/plugin/scalars/scalars?tag=recall_at_1&run=."
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)
    except OSError:  # it has not started, or not found the curve
        return []


def test_a_chief_and_two_workers_search(gcs: StorageService, place: str, features: str) -> None:
    uri, (port,) = f"gs://{place}/search", free_ports(1)
    words = settings(MARGINS, "trials=2", "algorithm=random", epochs=1, steps_per_epoch=10)
    command = ("tuning", "--data", features, "--job-dir", uri, "--set", *words)
    address = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "DEM_SEARCH_TOKEN": "known-to-chief-and-workers",
    }
    members = [
        start_in(gcs, *command, KERASTUNER_TUNER_ID=tuner_id, **address)
        for tuner_id in ("chief", "tuner0", "tuner1")
    ]
    chief, *workers = finish_all(*members)
    assert chief.returncode == 0, chief.stderr
    assert [worker.returncode for worker in workers] == [0, 0], workers
    metrics = as_json(gcs, place, "search/metrics.json")
    assert metrics["trials"] == metrics["completed"] == 2
    best = yaml.safe_load(gcs.read(place, "search/best_config.yaml"))
    trial = as_json(gcs, place, f"search/trials/{metrics['best_trial']}/metrics.json")
    assert trial["recall_at_1"] == metrics["best_value"]
    assert 0.1 <= best["margin"] <= 1.0
    assert len(gcs.read(place, "search/trials.csv").decode().splitlines()) == 3
    assert any("search%2Ftrials" in one.path for one in gcs.log_of(place, "tls"))
