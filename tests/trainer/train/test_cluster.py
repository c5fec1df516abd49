"""Two workers on this machine: the results of one, and what becomes of them when one is lost."""

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from dem.errors import InputError
from tests.cluster import consecutive_ports, finish, run_workers, start_workers
from tests.processes import error_line, run, start
from tests.trainer.train.test_main import train_command
from trainer.train.cluster import Cluster, read_cluster, tf_config_of_indexed_job
from trainer.train.step import make_strategy

NAMES = ("semi_hard, active_mean, clipped", "infonce bilinear, clipped")
TWO_WORKERS = {"worker": ["a:1", "b:1"]}


def test_two_workers_give_the_scalars_and_the_weights_of_one_replica(
    features_dir: Path, tmp_path: Path
) -> None:
    """Three SGD steps, augmented; measured: apart by 5e-7 at most."""
    module = "tests.trainer.replica_training"
    outputs = tmp_path / "one.npz", tmp_path / "two.npz"
    alone = run(module, features_dir, 1, outputs[0], *NAMES)
    both = run_workers(*[(module, features_dir, 2, outputs[1], *NAMES)] * 2)
    for finished in (alone, *both):
        assert finished.returncode == 0, finished.stderr
    with np.load(outputs[0]) as one, np.load(outputs[1]) as two:
        assert set(one) == set(two)
        for name in one:
            np.testing.assert_allclose(two[name], one[name], atol=1e-5, err_msg=name)
            assert not name.endswith("/moved") or one[name] > 0.003


@pytest.mark.slow
def test_a_lost_worker_ends_the_others_and_a_rerun_of_all_goes_on(
    features_dir: Path, tmp_path: Path
) -> None:
    """The same loss as undisturbed, up to the rounding of its sum: measured 2e-8 apart."""
    undisturbed, job = tmp_path / "undisturbed", tmp_path / "job"
    for finished in run_workers(*[train_command(features_dir, undisturbed)] * 2):
        assert finished.returncode == 0, finished.stderr
    stops = ((1, signal.SIGKILL, 1), (0, signal.SIGKILL, 1), (1, signal.SIGTERM, 143))
    for checkpoint, (victim, how, code) in enumerate(stops, start=1):
        workers = start_workers(*[train_command(features_dir, job)] * 2)
        wait_for(job / f"checkpoints/ckpt-{checkpoint}.index", workers)
        workers[victim].send_signal(how)
        ends = [finish(worker) for worker in workers]
        other = ends[1 - victim]
        assert other.returncode == code, other.stderr
        if how is signal.SIGKILL:
            assert "another of the 2 workers is gone" in error_line(other)
        else:
            assert all("stopped: state saved at step" in end.stderr for end in ends)
        assert not (job / "metrics.json").exists()
    for finished in run_workers(*[train_command(features_dir, job)] * 2):
        assert finished.returncode == 0, finished.stderr
    one, other = (json.loads((path / "metrics.json").read_text()) for path in (undisturbed, job))
    assert one["hosts"] == one["replicas"] == 2
    assert other["steps"] == one["steps"]
    assert other["loss"] == pytest.approx(one["loss"], abs=1e-6)
    assert {path.name for path in job.iterdir()} == {path.name for path in undisturbed.iterdir()}


@pytest.mark.slow
def test_workers_that_do_not_share_settings_are_refused(features_dir: Path, tmp_path: Path) -> None:
    """Each has a job directory of its own, so neither can see what the other is doing."""
    one, other = (
        train_command(features_dir, tmp_path / name, f"seed={seed}")
        for seed, name in enumerate(("one", "other"))
    )
    for finished in map(finish, start_workers(one, other)):
        assert finished.returncode == 2
        assert "worker 1 has other settings or data than worker 0" in error_line(finished)
        assert not (tmp_path / "one").exists()


def wait_for(path: Path, workers: list[subprocess.Popen[str]]) -> None:
    """Wait for a file, as long as all workers live."""
    deadline = time.monotonic() + 250
    while not path.exists():
        if time.monotonic() > deadline or any(worker.poll() is not None for worker in workers):
            for worker in workers:
                worker.kill()
            said = "\n".join(finish(worker).stderr for worker in workers)
            raise AssertionError(f"{path} did not appear:\n{said}")
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Cluster(1, 0)),
        ({}, None),
        ({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}, Cluster(1, 0)),
        ({"cluster": TWO_WORKERS, "task": {"type": "worker", "index": 1}}, Cluster(2, 1)),
        (
            {
                "cluster": {"worker": ["b:1"], "chief": ["a:1"]},
                "task": {"type": "chief", "index": "0"},
            },
            Cluster(2, 0),
        ),
    ],
)
def test_tf_config_tells_how_many_and_which(
    monkeypatch: pytest.MonkeyPatch, value: dict | None, expected: Cluster | None
) -> None:
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", json.dumps(value))
    if expected is None:
        with pytest.raises(InputError, match="is not understood; set it to"):
            read_cluster()
    else:
        assert read_cluster() == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nonsense", "TF_CONFIG='nonsense' is not understood"),
        ({"cluster": TWO_WORKERS, "task": {"type": "worker", "index": 2}}, "not understood"),
        ({"cluster": TWO_WORKERS}, "not understood"),
        (
            {"cluster": TWO_WORKERS | {"ps": ["c:1"]}, "task": {"type": "worker", "index": 0}},
            "names worker, ps; training knows only chief and worker",
        ),
    ],
)
def test_a_wrong_tf_config_is_told(
    monkeypatch: pytest.MonkeyPatch, value: object, message: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    with pytest.raises(InputError, match=message):
        read_cluster()


@pytest.mark.parametrize(
    ("replicas", "batch_size", "message"),
    [
        (None, 9, "batch_size=9 is no multiple of 2 replicas"),
        (4, 16, "replicas=4, but 2 workers have 2 devices; leave replicas out"),
    ],
)
def test_what_does_not_fit_the_workers_is_told_before_they_meet(
    monkeypatch: pytest.MonkeyPatch, replicas: int | None, batch_size: int, message: str
) -> None:
    config = {"cluster": TWO_WORKERS, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(InputError, match=message):
        make_strategy(replicas, batch_size)


POD = {
    "DEM_WORKERS": "2",
    "DEM_WORKER_ADDRESS": "train-{index}.train:2222",
    "JOB_COMPLETION_INDEX": "1",
}


def test_a_pod_of_an_indexed_job_knows_the_others_by_their_number() -> None:
    value = tf_config_of_indexed_job(POD)
    assert value is not None
    assert json.loads(value) == {
        "cluster": {"worker": ["train-0.train:2222", "train-1.train:2222"]},
        "task": {"type": "worker", "index": 1},
    }


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"JOB_COMPLETION_INDEX": "1"},  # Kubernetes sets it in every Indexed Job
        POD | {"TF_CONFIG": "{}"},
    ],
)
def test_without_addresses_or_with_tf_config_nothing_is_made_up(environment: dict) -> None:
    assert tf_config_of_indexed_job(environment) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"JOB_COMPLETION_INDEX": ""}, "JOB_COMPLETION_INDEX must be set, too"),
        ({"DEM_WORKERS": ""}, "DEM_WORKERS must be set, too"),
        ({"DEM_WORKER_ADDRESS": ""}, "DEM_WORKER_ADDRESS must be set, too"),
        ({"DEM_WORKERS": "two"}, "DEM_WORKERS='two' is not a number"),
        ({"JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX=2, but DEM_WORKERS=2"),
        ({"DEM_WORKER_ADDRESS": "train:2222"}, "'train:2222' is the same for all"),
    ],
)
def test_a_wrong_pod_is_told(changed: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tf_config_of_indexed_job(POD | changed)


@pytest.mark.slow
def test_pods_of_an_indexed_job_train_together(features_dir: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{consecutive_ports(2)}{{index}}"
    pods = [
        start(
            *train_command(features_dir, tmp_path),
            **(POD | {"DEM_WORKER_ADDRESS": address, "JOB_COMPLETION_INDEX": str(index)}),
        )
        for index in range(2)
    ]
    for index, finished in enumerate([finish(pod) for pod in pods]):
        assert finished.returncode == 0, finished.stderr
        assert f"worker {index} of 2" in finished.stderr
    assert (tmp_path / "metrics.json").exists()
