"""Two workers on this machine: the results of one, and what becomes of them when one is lost."""

import json
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.cluster import consecutive_ports, finish, free_ports, run_workers, start_workers
from tests.processes import error_line, start
from tests.trainer.jobs import train_command
from tests.trainer.replica_training import Results
from tests.trainer.train.test_tf_config import POD
from trainer.train.cluster import is_loss


@pytest.mark.parametrize(
    "name",
    [
        "infonce bilinear, clipped",
        pytest.param("semi_hard, active_mean, clipped", marks=pytest.mark.slow),
    ],
)
def test_two_workers_give_the_scalars_and_the_weights_of_one_replica(
    features_dir: Path, tmp_path: Path, one_replica: Results, name: str
) -> None:
    """Three SGD steps, augmented; measured: apart by 5e-7 at most."""
    module = "tests.trainer.replica_training"
    output = tmp_path / "two.npz"
    for finished in run_workers(*[(module, features_dir, 2, output, name)] * 2):
        assert finished.returncode == 0, finished.stderr
    one = one_replica[name]
    assert one["moved"] > 0.003
    with np.load(output) as two:
        assert set(two) == {f"{name}/{key}" for key in one}
        for key, value in one.items():
            np.testing.assert_allclose(two[f"{name}/{key}"], value, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_a_lost_worker_ends_the_others_and_a_rerun_of_all_goes_on(
    features_dir: Path, tmp_path: Path
) -> None:
    """The same loss as undisturbed, up to the rounding of its sum: measured 2e-8 apart.

    The undisturbed one saves as often as it can: only the chief does, without the other.
    """
    undisturbed, job = tmp_path / "undisturbed", tmp_path / "job"
    often = train_command(features_dir, undisturbed, "checkpoint_every_s=1e-9")
    for finished in run_workers(*[often] * 2):
        assert finished.returncode == 0, finished.stderr
    numbers = [int(path.stem[5:]) for path in (undisturbed / "checkpoints").iterdir()]
    assert len(numbers) == 2
    assert max(numbers) > 5 + 5  # epochs, and at least one within each
    stops = ((1, signal.SIGKILL, 3), (0, signal.SIGKILL, 3), (1, signal.SIGTERM, 143))
    for checkpoint, (victim, how, code) in enumerate(stops, start=1):
        workers = start_workers(*[train_command(features_dir, job)] * 2)
        wait_for(job / f"checkpoints/ckpt-{checkpoint}.npz", workers)
        workers[victim].send_signal(how)
        ends = [finish(worker) for worker in workers]
        other = ends[1 - victim]
        assert other.returncode == code, other.stderr
        if how is signal.SIGKILL:
            assert "lost another of the 2 workers" in error_line(other)
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
@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_that_waits_for_another_ends_at_once(
    features_dir: Path, tmp_path: Path, index: int
) -> None:
    """By SIGTERM, or when the deadline has passed."""
    hosts = [f"127.0.0.1:{port}" for port in free_ports(2)]
    task = {"type": "worker", "index": index}
    config = json.dumps({"cluster": {"worker": hosts}, "task": task})
    command = train_command(features_dir, tmp_path / "job")
    waiting = start(*command, TF_CONFIG=config)
    assert waiting.stderr
    said = next(line for line in waiting.stderr if "waiting for" in line)
    assert f"waiting for worker {1 - index} ({hosts[1 - index]})" in said
    waiting.send_signal(signal.SIGTERM)
    sent = time.monotonic()
    assert finish(waiting).returncode == 143
    assert time.monotonic() - sent < 5
    late = finish(start(*command, TF_CONFIG=config, DEM_WORKERS_WAIT_S="1"))
    assert late.returncode == 1
    assert f"missing after the deadline: worker {1 - index} (" in error_line(late)
    assert not (tmp_path / "job").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (tf.errors.UnavailableError(None, None, "socket closed"), True),
        (tf.errors.InternalError(None, None, "Collective ops is aborted by: …"), True),
        (tf.errors.InternalError(None, None, "NCCL: remote process exited"), True),
        (tf.errors.InternalError(None, None, "cuDNN launch failure"), False),
        (tf.errors.FailedPreconditionError(None, None, "not initialised"), False),
        (tf.errors.ResourceExhaustedError(None, None, "out of memory"), False),
    ],
)
def test_a_fault_of_this_host_is_not_taken_for_a_loss(
    error: tf.errors.OpError, expected: bool
) -> None:
    """A loss is not counted as a failure, so a fault would be repeated without end."""
    assert is_loss(error) is expected


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
