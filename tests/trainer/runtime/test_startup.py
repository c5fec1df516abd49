"""TensorFlow sees the GPUs that the environment requires, or nothing starts."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dem.errors import InputError
from tests.processes import ROOT, error_in
from trainer.runtime.startup import REQUIRED_GPUS, require_gpus
from trainer.train.__main__ import main as train
from tuning.__main__ import main as tune


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


@pytest.mark.parametrize("main", [train, tune])
def test_no_command_begins_on_the_cpu_where_a_gpu_is_required(
    main: Callable[[Sequence[str]], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(REQUIRED_GPUS, "1")
    job = tmp_path / "job"
    assert main(["--data", str(tmp_path), "--job-dir", str(job)]) == 2
    line = error_in(capsys.readouterr().err)
    assert "DEM_REQUIRED_GPUS=1, but TensorFlow sees 0 GPUs" in line
    assert not job.exists()


def test_a_signal_during_the_import_is_answered_by_a_line() -> None:
    """The import takes seconds, in which the messages of TensorFlow are held back."""
    code = (
        "import os, signal, threading; from dem.termination import watch_sigterm; "
        "from trainer.runtime.startup import load_tensorflow; watch_sigterm(ctrl_c=True); "
        "threading.Timer(0.7, os.kill, [os.getpid(), signal.SIGINT]).start(); load_tensorflow()"
    )
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 143
    assert ended.stderr.startswith("stopped: what is finished is saved")
