"""The project's commands in an environment that leads to the buckets of a test."""

import subprocess

from tests.buckets.storage_service import StorageService
from tests.processes import start

SMALL_FEATURES = ("sample_rate_hz=8000", "n_mels=16")
SMALL_ENCODER = (
    *("encoder=dense", "encoder_width=0.05", "encoder_depth=1"),
    *("embedding_size=8", "projection_size=4", "batch_size=16"),
)


def start_in(gcs: StorageService, *arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start ``python -m arguments…`` where it finds the buckets."""
    return start(*arguments, **gcs.environment | environment)


def run_in(
    gcs: StorageService, *arguments: object, timeout_s: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    process = start_in(gcs, *arguments)
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def features_command(output: str) -> tuple[object, ...]:
    """Make small features of the synthetic corpus."""
    return (
        *("beam_features", "--dataset", "sample", "--output", output, "--shards", 2),
        *("--set", *SMALL_FEATURES),
    )


def train_command(data: str, job: str, *settings: str) -> tuple[object, ...]:
    """Train a small encoder."""
    return "trainer.train", "--data", data, "--job-dir", job, "--set", *SMALL_ENCODER, *settings
