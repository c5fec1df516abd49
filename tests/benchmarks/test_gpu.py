"""The script for a GPU, rehearsed on the CPU; and a process that hangs or dies."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import run_cases
from tests.processes import run


@pytest.mark.slow
def test_the_rehearsal_prints_a_row_per_case() -> None:
    words = ("--device", "cpu", "--quick", "--encoders", "conv2d", "--modes", "mixed_bfloat16")
    finished = run("benchmarks.gpu", *words, timeout_s=600)
    assert finished.returncode == 0, finished.stderr
    rows: list[dict[str, Any]] = [json.loads(line) for line in finished.stdout.splitlines()]
    assert not [row for row in rows if "error" in row]
    assert [row["case"] for row in rows] == [
        "device",
        "step conv2d mixed_bfloat16",
        "profile conv2d mixed_bfloat16",
        "parts conv2d mixed_bfloat16",
        "placements conv2d mixed_bfloat16",
        "step conv2d mixed_bfloat16",
        "profile conv2d mixed_bfloat16",
        "replicas 1",
        "replicas 2",
        "saved_model conv2d device",
        "saved_model conv2d cpu",
    ]
    by_case = {row["case"]: row for row in rows}
    step = by_case["step conv2d mixed_bfloat16"]
    assert step["tiles_per_s"] == pytest.approx(2 * step["batch_size"] / step["step_s"])
    assert 0 <= step["wait_share"] < 1
    assert step["environment"]["TF_GPU_THREAD_MODE"] == "gpu_private"
    assert by_case["replicas 2"]["equal"]
    assert by_case["saved_model conv2d cpu"]["float32_least_cosine"] > 0.9999
    assert by_case["profile conv2d mixed_bfloat16"]["ops_ms_per_step"]


@pytest.mark.slow
def test_a_case_that_fails_or_hangs_does_not_end_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"features": str(tmp_path), "home": str(tmp_path), "batch_size": 8, "seconds": 0.1}
    run_cases(settings, [["step", "conv2d", "float32"], ["device"]], {}, limit_s=120)
    failed, device = map(json.loads, capsys.readouterr().out.splitlines())
    assert "dataset_info.json does not exist" in failed["error"]
    assert device["tensorflow"]
    run_cases(settings, [["device"], ["device"]], {}, limit_s=0.1)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["error"] for row in rows] == ["no result within 0 s, or the process died"] * 2
