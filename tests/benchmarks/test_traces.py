"""Summaries of a profile: by hand, and of one that the profiler wrote."""

from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.traces import covered, summarise, summary_of

PS_PER_US = 10**6


def add_event(plane: Any, line: Any, name: str, begin_us: int, end_us: int, op: str = "") -> None:
    number = len(plane.event_metadata) + 1
    plane.event_metadata[number].name = name
    duration = (end_us - begin_us) * PS_PER_US
    event = line.events.add(
        metadata_id=number, offset_ps=begin_us * PS_PER_US, duration_ps=duration
    )
    if op:
        plane.stat_metadata[1].name = "tf_op"
        event.stats.add(metadata_id=1, str_value=op)


def test_spans_that_overlap_count_once() -> None:
    assert covered([(0, 10), (5, 12), (20, 30), (21, 22)]) == 22


def test_idle_share_and_operations_are_those_of_the_streams_of_the_first_gpu() -> None:
    """Kernels at 0-40 and 60-100 µs, a copy at 100-200: 180 of 200 µs."""
    space = xplane_pb2.XSpace()
    space.planes.add(name="/host:CPU").lines.add(name="python")
    plane = space.planes.add(name="/device:GPU:0")
    compute, copies, derived = (
        plane.lines.add(name=name, timestamp_ns=start)
        for name, start in (("Stream #1", 0), ("Stream #2", 100_000), ("TensorFlow Ops", 0))
    )
    add_event(plane, compute, "gemm_a", 0, 40, "model/dense/MatMul:MatMul")
    add_event(plane, compute, "gemm_b", 60, 100, "model/conv/Conv2D:Conv2D")
    add_event(plane, copies, "MemcpyH2D", 0, 100)
    add_event(plane, derived, "MatMul", 0, 1000)
    summary = summary_of(space, n_steps=2)
    assert summary["plane"] == "/device:GPU:0"
    assert summary["ms_per_step"] == pytest.approx(0.1)
    assert summary["idle_share"] == pytest.approx(20 / 200)
    assert summary["copy_share"] == pytest.approx(100 / 180)
    assert summary["events_per_step"] == 1.5
    assert summary["ops_ms_per_step"] == {"MemcpyH2D": 0.05, "MatMul": 0.02, "Conv2D": 0.02}


def test_reads_what_the_profiler_writes(tmp_path: Path) -> None:
    matrix = tf.random.normal([64, 64])
    with tf.profiler.experimental.Profile(str(tmp_path)):
        for _ in range(3):
            tf.linalg.matmul(matrix, matrix).numpy()
    summary = summarise(tmp_path, n_steps=3)
    assert summary["plane"] == "/host:CPU"
    assert 0 <= summary["idle_share"] < 1
    assert any("MatMul" in name for name in summary["ops_ms_per_step"])
