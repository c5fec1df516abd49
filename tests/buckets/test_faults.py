"""What the commands say and leave when a bucket refuses, is missing, or fails."""

import json
import time
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from tests.buckets.commands import features_command, run_in, start_in, train_command
from tests.buckets.faults import CUT, RESET, Fault
from tests.buckets.storage_service import StorageService
from tests.processes import error_line
from tests.trainer.synthetic import write_features
from tests.tuning.searches import MARGINS, said_until, settings

MISSING = "gs://no-such-bucket"


@pytest.fixture(scope="module")
def place(gcs: StorageService) -> str:
    """Name of a bucket with features."""
    return gcs.new_bucket()


@pytest.fixture(scope="module")
def data(gcs: StorageService, place: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    songs = {"train": 12, "validation": 9, "test": 9}
    local = write_features(tmp_path_factory.mktemp("synthetic") / "features", songs)
    return gcs.upload(local, place, "features")


@pytest.fixture(scope="module")
def recordings(gcs: StorageService, place: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    local = tmp_path_factory.mktemp("recordings")
    for index in range(3):
        samples = np.random.default_rng(index).normal(0, 0.1, 32_000)
        soundfile.write(local / f"{index}.wav", samples, 16_000)
    return gcs.upload(local, place, "audio")


ARGUMENTS: dict[str, Callable[[str, str], tuple[object, ...]]] = {
    "features --output": lambda data, bad: features_command(bad),
    "features --input": lambda data, bad: (
        *("beam_features", "--dataset", "folder", "--input", bad, "--output", f"{data}-not-made"),
    ),
    "features --config": lambda data, bad: (*features_command(f"{data}-x"), "--config", bad),
    "train --data": lambda data, bad: train_command(bad, f"{data}-job"),
    "train --job-dir": lambda data, bad: train_command(data, bad),
    "train --config": lambda data, bad: (*train_command(data, f"{data}-job"), "--config", bad),
    "tuning --job-dir": lambda data, bad: (
        *("tuning", "--data", data, "--job-dir", bad, "--set", *settings(MARGINS, "trials=1")),
    ),
    "classify --job-dir": lambda data, bad: (
        *("trainer.classify", "--data", data, "--job-dir", bad),
    ),
    "report --job-dir": lambda data, bad: ("trainer.report", "--data", data, "--job-dir", bad),
    "embed --model": lambda data, bad: (
        *("trainer.embed", "--model", bad, "--data", data, "--output", f"{data}-vectors"),
    ),
    "embed --input": lambda data, bad: (
        *("trainer.embed", "--model", bad, "--input", bad, "--output", f"{data}-vectors"),
    ),
}
QUICK = ("features --output", "train --job-dir")
EVERY_ARGUMENT = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in ARGUMENTS
]


@pytest.mark.parametrize("argument", EVERY_ARGUMENT)
def test_a_bucket_that_refuses_is_a_bad_argument(
    gcs: StorageService, data: str, bucket: str, argument: str
) -> None:
    bad = f"gs://{bucket}/there"
    with gcs.inject(Fault(f"/{bucket}", 403)):
        refused = run_in(gcs, *ARGUMENTS[argument](data, bad))
    assert refused.returncode == 2, refused.stderr
    assert f"permission denied for {bad}" in error_line(refused)
    assert "docs/buckets.md" in error_line(refused)
    assert len(gcs.log_of(bucket)) <= 4  # to ask again would be of no use


@pytest.mark.parametrize("argument", EVERY_ARGUMENT)
def test_a_bucket_that_is_missing_is_a_bad_argument(
    gcs: StorageService, data: str, argument: str
) -> None:
    begin = time.monotonic()
    refused = run_in(gcs, *ARGUMENTS[argument](data, f"{MISSING}/there"))
    assert refused.returncode == 2, refused.stderr
    assert f"{MISSING}/there" in error_line(refused)
    assert time.monotonic() - begin < 60


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["features --output", "train --job-dir", "tuning --job-dir"])
def test_a_bucket_that_may_only_be_read_is_a_bad_argument(
    gcs: StorageService, data: str, bucket: str, stage: str
) -> None:
    with gcs.inject(Fault(f"/{bucket}", 403, methods=("POST", "PUT", "DELETE"))):
        refused = run_in(gcs, *ARGUMENTS[stage](data, f"gs://{bucket}/there"))
    assert refused.returncode == 2, refused.stderr
    assert f"permission denied for gs://{bucket}/there" in error_line(refused)
    assert gcs.names(bucket) == []


@pytest.mark.slow
def test_a_permission_that_is_taken_away_ends_the_run_and_given_back_it_goes_on(
    gcs: StorageService, data: str, bucket: str
) -> None:
    job = f"gs://{bucket}/job"
    command = train_command(data, job, "epochs=6")
    process = start_in(gcs, *command)
    said_until(process, "epoch 1/")
    with gcs.inject(Fault(f"/{bucket}", 403)):
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 1, stderr
    (line,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert f"permission denied for {job}/" in line
    assert "Traceback" not in stderr
    assert "job/metrics.json" not in gcs.names(bucket)
    finished = run_in(gcs, *command)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(gcs.read(bucket, "job/metrics.json"))["epochs"] == 6


@pytest.mark.slow
def test_checkpoints_that_cannot_be_reached_are_not_taken_for_damaged_or_missing(
    gcs: StorageService, data: str, bucket: str
) -> None:
    job = f"gs://{bucket}/job"
    process = start_in(gcs, *train_command(data, job, "epochs=60"))
    said_until(process, "epoch 3/")
    process.kill()
    process.communicate()
    before = gcs.names(bucket, "job/checkpoints/ckpt")
    assert before
    for path in ("ckpt.*npz", "checkpoints"):
        with gcs.inject(Fault(f"/{bucket}/.*{path}", 403)):
            failed = run_in(gcs, *train_command(data, job, "epochs=60"))
        assert failed.returncode == 1, failed.stderr
        assert f"permission denied for {job}/checkpoints" in error_line(failed)
        assert "corrupt" not in failed.stderr
        assert gcs.names(bucket, "job/checkpoints/ckpt") == before


@pytest.mark.slow
def test_a_training_outlives_short_outages(gcs: StorageService, data: str, bucket: str) -> None:
    """Of either kind, in what it reads and in what it writes."""
    place = data.split("/")[2]
    faults = [
        Fault(f"/{place}/.*train-", 503, times=2, after=2),
        Fault(f"/{place}/.*train-.*tfrecord$", CUT, times=2, after=1),
        Fault(f"/{bucket}", RESET, times=2, after=8),
        Fault(f"upload.*/{bucket}/.*uploadType=resumable&", 503, times=2),  # of a checkpoint
        Fault(f"upload.*/{bucket}/.*logs", RESET, times=1, after=2),
    ]
    with gcs.inject(*faults):
        finished = run_in(gcs, *train_command(data, f"gs://{bucket}/job", "epochs=2"))
    assert finished.returncode == 0, finished.stderr
    assert [fault.hits for fault in faults] == [2, 2, 2, 2, 1]
    assert json.loads(gcs.read(bucket, "job/metrics.json"))["corrupt_records"] == 0


@pytest.mark.slow
def test_features_outlive_short_outages(gcs: StorageService, recordings: str, bucket: str) -> None:
    place = recordings.split("/")[2]
    output = f"gs://{bucket}/features"
    command = (
        *("beam_features", "--dataset", "folder", "--input", recordings),
        *("--shards", 1, "--output"),
    )
    faults = [
        Fault(f"/{place}/o/audio.*wav", 503, times=2, after=1),
        Fault(f"/{place}/o/audio.*wav.*alt=media", CUT, times=1),
        Fault(f"upload.*/{bucket}/", RESET, times=2, after=2),
        Fault(f"/{bucket}/o/", 503, times=1, after=1, methods=("DELETE",)),
    ]
    with gcs.inject(*faults):
        finished = run_in(gcs, *command, output)
    assert finished.returncode == 0, finished.stderr
    assert all(fault.hits for fault in faults), faults
    undisturbed = run_in(gcs, *command, f"gs://{bucket}/undisturbed")
    assert undisturbed.returncode == 0, undisturbed.stderr
    shards = [name for name in gcs.names(bucket, "features/") if name.endswith(".tfrecord")]
    assert shards
    for name in shards:
        other = name.replace("features/", "undisturbed/")
        assert gcs.read(bucket, name) == gcs.read(bucket, other)


@pytest.mark.slow
def test_a_recording_that_may_not_be_read_is_not_taken_for_a_shorter_one(
    gcs: StorageService, recordings: str, bucket: str
) -> None:
    """The refusal comes when the decoder asks for bytes, which it takes for the end of the file."""
    place = recordings.split("/")[2]
    command = (
        *("beam_features", "--dataset", "folder", "--input", recordings, "--shards", 1),
        *("--output", f"gs://{bucket}/features", "--max-failure-rate", 1),
    )
    with gcs.inject(Fault(f"/{place}/o/audio.+1.wav.*alt=media", 403)):
        failed = run_in(gcs, *command)
    assert failed.returncode == 1, failed.stderr
    lines = failed.stderr.splitlines()  # among them the traceback that Beam logs of its worker
    (line,) = [line for line in lines if line.startswith("error: ")]
    assert f"permission denied for {recordings}/1.wav" in line
    names = gcs.names(bucket)
    assert "features/dataset_info.json" not in names
    assert not [name for name in names if "rejected" in name]
    finished = run_in(gcs, *command)
    assert finished.returncode == 0, finished.stderr
    assert "rejected: none" in finished.stdout


@pytest.mark.slow
def test_an_outage_ends_the_run_when_the_retries_are_over(
    gcs: StorageService, data: str, bucket: str
) -> None:
    """Google's client retries for two minutes, with growing pauses."""
    begin = time.monotonic()
    with gcs.inject(Fault(f"/{bucket}", 503)):
        failed = run_in(gcs, *train_command(data, f"gs://{bucket}/job"), timeout_s=400)
    assert failed.returncode == 1, failed.stderr
    assert f"cannot reach gs://{bucket}/job/config.yaml after retries (503 " in error_line(failed)
    assert 60 < time.monotonic() - begin < 200
    assert 5 < len(gcs.log_of(bucket)) < 30
