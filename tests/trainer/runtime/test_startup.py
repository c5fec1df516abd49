"""The GPUs that a container has been given are visible, or nothing starts."""

from pathlib import Path

import pytest

from dem.errors import InputError
from tests.cluster import finish
from tests.processes import error_line, start
from tests.tuning.searches import MARGINS, command, settings
from trainer.runtime.startup import REQUIRED_GPUS, require_gpus


@pytest.mark.parametrize(("required", "visible"), [("0", 0), ("1", 1), ("1", 8), ("8", 8)])
def test_enough_gpus(required: str, visible: int) -> None:
    require_gpus(required, visible)


def test_too_few_gpus_name_both_numbers_and_the_remedy() -> None:
    with pytest.raises(InputError) as refused:
        require_gpus("2", 1)
    assert "DEM_REQUIRED_GPUS=2, but TensorFlow sees 1 GPUs" in str(refused.value)
    assert "unset DEM_REQUIRED_GPUS" in str(refused.value)


@pytest.mark.parametrize("required", ["two", "-1", "1.5", " "])
def test_what_is_no_number_is_refused(required: str) -> None:
    with pytest.raises(InputError, match="is not a number of GPUs"):
        require_gpus(required, 8)


def test_training_does_not_begin_on_the_cpu_where_a_gpu_is_asked_for(tmp_path: Path) -> None:
    job = tmp_path / "job"
    words = ("trainer.train", "--data", tmp_path, "--job-dir", job)
    refused = finish(start(*words, **{REQUIRED_GPUS: "1"}))
    assert refused.returncode == 2
    assert "DEM_REQUIRED_GPUS=1, but TensorFlow sees 0 GPUs" in error_line(refused)
    assert not job.exists()


def test_neither_does_a_search(tmp_path: Path) -> None:
    job = tmp_path / "job"
    searching = start(
        *command(tmp_path, job, settings(MARGINS, "trials=1")), **{REQUIRED_GPUS: "1"}
    )
    refused = finish(searching)
    assert refused.returncode == 2
    assert "DEM_REQUIRED_GPUS=1, but TensorFlow sees 0 GPUs" in error_line(refused)
    assert not job.exists()
