"""Every Job of the bucket overlay with its components, run: Pods are lost, preempted and killed.

As processes, with a directory in place of the bucket. Each Job meets all three: a node is gone,
a preemption asks first, and the kernel ends a container whose memory has run out.
"""

import copy
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.cluster import consecutive_ports
from tests.k8s.jobs import JobRun, JobSetRun, Run, run_to_the_end, run_until
from tests.k8s.manifests import JOBS, Manifest, jobs_of, needs_kubectl, of_kind, rendered_run
from tests.k8s.node import Node, Pod
from tests.trainer.synthetic import write_features

pytestmark = [needs_kubectl, pytest.mark.slow]

LOSSES = (Pod.lose, Pod.preempt, Pod.run_out_of_memory)
VALUES = (
    *("DATASET=sample", "INPUT=sample:0"),
    *("TRAIN_CONFIG=gs://my-bucket/train.yaml", "TUNE_CONFIG=gs://my-bucket/tune.yaml"),
)
EPOCHS, STEPS_PER_EPOCH, TRIALS = 8, 40, 4
TRAINING = f"""
encoder: conv1d
embedding_size: 16
batch_size: 64
steps_per_epoch: {STEPS_PER_EPOCH}
"""
SEARCH = f"""
algorithm: random
trials: {TRIALS}
worker_deadline_s: 20
space:
  encoder: conv1d
  embedding_size: 16
  batch_size: 64
  steps_per_epoch: {STEPS_PER_EPOCH}
  epochs: 4
"""
OUTPUTS = {
    "classify": "job/classifier/trained-logistic/predictions.csv",
    "embed": "vectors/train.parquet",
    "index": "index/songs.parquet",
    "report": "job/report.html",
}


class Place:
    """A directory with a bucket, in which Jobs of several runs run."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._runs = directory, list[Run]()
        self.bucket = directory / "bucket"
        self.bucket.mkdir(parents=True)
        (self.bucket / "train.yaml").write_text(f"{TRAINING}epochs: {EPOCHS}\n")
        (self.bucket / "tune.yaml").write_text(SEARCH)

    def apply(self, stage: str, *components: str, run: str = "first") -> dict[str, Run]:
        """Render a stage and begin its Jobs, unless they wait for a queue."""
        options = [word for one in components for word in ("--component", one)]
        manifests = rendered_run(*options, run, stage, *VALUES)
        node = Node(manifests, self._directory)
        runs: dict[str, Run] = {
            name: JobRun(on_this_machine(job), node)
            for name, job in of_kind(manifests, "Job").items()
        }
        for name, job_set in of_kind(manifests, "JobSet").items():
            runs[name] = JobSetRun(on_this_machine(job_set), node)
        self._runs += runs.values()
        for one in runs.values():
            if "kueue" not in components:
                one.start()
        return runs

    def stop(self) -> None:
        """End all Pods."""
        for one in self._runs:
            one.stop()


def on_this_machine(owner: Manifest) -> Manifest:
    """Hosts have ports of their own instead of addresses; few processes are enough."""
    owner = copy.deepcopy(owner)
    jobs = list(jobs_of(owner)) if owner["kind"] == "JobSet" else [owner]
    for job in jobs:
        (container,) = job["spec"]["template"]["spec"]["containers"]
        for entry in container["env"]:
            if entry["name"] == "DEM_WORKER_ADDRESS":
                entry["value"] = f"127.0.0.1:{consecutive_ports(2)}{{index}}"
            if entry["name"] == "CPUS":
                container["resources"]["requests"]["cpu"] = "2"
    return owner


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.stop()


@pytest.fixture
def with_features(place: Place) -> Place:
    write_features(place.bucket / "features", {"train": 60, "validation": 20, "test": 20})
    return place


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, dict[str, float]]]:
    """A run whose stages have all ended without a loss, and the CPU seconds that each took."""
    place = Place(tmp_path_factory.mktemp("finished"))
    write_features(place.bucket / "features", {"train": 60, "validation": 20, "test": 20})
    took = {}
    try:
        for stage in JOBS[1:]:
            runs = place.apply(stage)
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run_to_the_end(*runs.values())
            assert [one.ends_of() for one in runs.values()] == [[0]]
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took[stage] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        yield place, took
    finally:
        place.stop()


def cpu_s(pod: Pod) -> float:
    """What a Pod has used, which other work on the machine does not change; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pod.process.pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def checkpoint(directory: Path, number: int) -> Callable[[], bool]:
    """Whether a training has come to an epoch; older checkpoints are removed."""

    def is_there() -> bool:
        names = [path.stem for path in directory.glob("**/checkpoints/ckpt-*.npz")]
        return any(int(name.removeprefix("ckpt-")) >= number for name in names)

    return is_there


def metrics_of(place: Place) -> dict[str, object]:
    return dict(json.loads((place.bucket / "runs/first/job/metrics.json").read_text()))


def test_features_of_four_pods(place: Place) -> None:
    """Also a second time: a Pod that is lost after its work is done again does nothing."""
    (features,) = place.apply("features", "spot").values()
    output = place.bucket / "features"
    run_until(lambda: any(output.glob("incomplete/*-of-*.json")), features, timeout_s=200)
    for index, loss in enumerate(LOSSES):
        loss(features.pod(index))
    run_to_the_end(features)
    assert [features.ends_of(index)[-1] for index in range(4)] == [0] * 4
    assert [features.ends_of(index)[0] for index in range(3)] == [137, 143, 137]
    assert isinstance(features, JobRun)
    assert features.counted == 1
    assert not (output / "incomplete").exists()
    info = json.loads((output / "dataset_info.json").read_text())
    shards = sum(part["n_shards"] for part in info["partitions"].values())
    assert shards == len(list(output.glob("*.tfrecord")))
    assert len([one for one in features.ended if "wrote /" in one.stderr]) == 1
    (again,) = place.apply("features", "spot").values()
    run_to_the_end(again)
    assert {again.ends_of(index)[-1] for index in range(4)} == {0}


@pytest.mark.parametrize("components", [("spot",), ("flex-start", "gcsfuse"), ("a3-highgpu-8g",)])
def test_a_training_on_one_host(with_features: Place, components: tuple[str, ...]) -> None:
    (train,) = with_features.apply("train", *components).values()
    job = with_features.bucket / "runs/first/job"
    for number, loss in zip((2, 4, 6), LOSSES, strict=True):
        run_until(checkpoint(job, number), train, timeout_s=200)
        loss(train.pod())
        ends = len(train.ended)
        run_until(lambda ends=ends: len(train.ended) > ends, train, timeout_s=60)
    run_to_the_end(train)
    assert train.ends_of() == [137, 143, 137, 0]
    assert isinstance(train, JobRun)
    assert train.counted == 1
    assert "resuming from step" in train.ended[-1].stderr
    assert metrics_of(with_features)["steps"] == EPOCHS * STEPS_PER_EPOCH


def test_a_training_on_two_hosts(with_features: Place) -> None:
    (train,) = with_features.apply("train", "multi-host").values()
    job = with_features.bucket / "runs/first/job"
    for number, index, loss in zip((2, 4, 6), (1, 0, 1), LOSSES, strict=True):
        run_until(checkpoint(job, number), train, timeout_s=300)
        loss(train.pod(index))
        ends = len(train.ended)
        run_until(lambda ends=ends: len(train.ended) > ends + 1, train, timeout_s=120)
    run_to_the_end(train)
    assert train.ends_of(0) == [3, 143, 3, 0]
    assert train.ends_of(1)[0] == train.ends_of(1)[2] == 137
    assert train.ends_of(1)[1] in (3, 143)
    assert isinstance(train, JobRun)
    assert train.counted == 1
    assert metrics_of(with_features)["hosts"] == 2


def test_a_training_on_two_hosts_as_a_job_set_in_a_queue(with_features: Place) -> None:
    components = ("a3-highgpu-8g", "multi-host", "jobset", "kueue")
    (train,) = with_features.apply("train", *components).values()
    assert train.status == "suspended"
    train.start()
    assert isinstance(train, JobSetRun)
    job = with_features.bucket / "runs/first/job"
    for number, index, loss in zip((1, 2, 4), (1, 0, 1), LOSSES, strict=True):
        run_until(checkpoint(job, number), train, timeout_s=300)
        restarts = train.restarts
        loss(train.pod(index))
        run_until(lambda restarts=restarts: train.restarts > restarts, train, timeout_s=120)
    run_until(checkpoint(job, 6), train, timeout_s=300)
    ends = len(train.ended)
    train.suspend()  # others come first
    run_until(lambda: len(train.ended) == ends + 2, train, timeout_s=60)
    assert train.status == "suspended"
    train.start()
    run_to_the_end(train)
    assert train.restarts == 3
    assert (train.ends_of(0)[-2:], train.ends_of(1)[-2:]) == ([143, 0], [143, 0])
    assert metrics_of(with_features)["hosts"] == 2


def test_a_job_set_with_bad_settings_fails_at_once(with_features: Place) -> None:
    (with_features.bucket / "train.yaml").write_text("epochs: many\n")
    (train,) = with_features.apply("train", "multi-host", "jobset").values()
    with pytest.raises(AssertionError, match="epochs"):
        run_to_the_end(train)
    assert (train.status, len(train.ended)) == ("failed", 2)
    assert 2 in train.ends_of(0) + train.ends_of(1)


@pytest.mark.parametrize("stage", ["classify", "embed", "index", "report"])
def test_a_stage_after_the_training(finished: tuple[Place, dict[str, float]], stage: str) -> None:
    place, took = finished
    first, second = (place.bucket / "runs" / run for run in ("first", stage))
    shutil.copytree(first, second)
    output = second / OUTPUTS[stage]
    shutil.rmtree(output.parent) if stage != "report" else output.unlink()
    (job,) = place.apply(stage, "spot", run=stage).values()
    assert isinstance(job, JobRun)
    met = []
    for share, loss in zip((0.4, 0.6, 0.8), LOSSES, strict=True):
        ended = len(job.ended)

        def is_time(share: float = share) -> bool:
            return job.status == "complete" or cpu_s(job.pod()) > share * took[stage]

        run_until(is_time, job, timeout_s=100)
        if job.status != "complete":
            loss(job.pod())
            run_until(lambda ended=ended: len(job.ended) > ended, job, timeout_s=60)
            met += [loss] if job.ended[-1].exit_code else []  # it may have been done just before
    run_to_the_end(job)
    assert len(met) >= (1 if stage == "index" else 2)  # which takes half a second
    assert job.ends_of() == [143 if loss is Pod.preempt else 137 for loss in met] + [0]
    assert job.counted == (Pod.run_out_of_memory in met)
    before, after = (run / OUTPUTS[stage] for run in (first, second))
    assert stage == "report" or after.read_bytes() == before.read_bytes()
    assert output.exists()
    (again,) = place.apply(stage, run=stage).values()
    run_to_the_end(again)
    assert again.ends_of() == [0]


def test_a_search_whose_chief_and_workers_are_lost(with_features: Place) -> None:
    runs = with_features.apply("tune", "spot")
    chief, workers = runs["tune-chief"], runs["tune-workers"]
    search = with_features.bucket / "runs/first/search"
    trial = search / "trials"
    for number, loss in enumerate(LOSSES, start=1):
        both = [chief, workers]

        def trained(number: int = number) -> bool:
            return len(list(trial.glob("*/checkpoints"))) >= number

        run_until(trained, *both, timeout_s=300)
        for one, index in ((workers, number % 2), (chief, 0)):
            ends = len(one.ended)
            if one.ends_of(index)[-1:] != [0]:
                loss(one.pod(index))
                run_until(lambda one=one, ends=ends: len(one.ended) > ends, *both, timeout_s=60)
    run_to_the_end(chief, workers)
    assert chief.ends_of() == [137, 143, 137, 0]
    assert {workers.ends_of(0)[-1], workers.ends_of(1)[-1]} == {0}
    trials = pd.read_csv(search / "trials.csv")
    assert trials.status.tolist() == ["completed"] * TRIALS
