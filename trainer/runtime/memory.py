"""Memory: the peak of this process, and what is available on the host and on its GPUs."""

import resource
import sys
from pathlib import Path

import tensorflow as tf
from tensorflow.python.client import device_lib  # the only source of a GPU's memory limit

_STATUS = Path("/proc/self/status")
_HOST = Path("/proc/meminfo")
_LIMIT, _USED, _STAT = (
    Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current", "memory.stat")
)


def peak_memory_mib() -> float:
    """Peak resident memory on the host, in MiB."""
    if _STATUS.exists():  # Linux: getrusage may report the peak of the parent before exec
        lines = _STATUS.read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) / 1024
    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss / (1024**2 if sys.platform == "darwin" else 1024)


def peak_gpu_memory_mib() -> float | None:
    """Peak memory allocated on the fullest GPU, in MiB; None without GPUs."""
    devices = [gpu.name.partition("device:")[2] for gpu in tf.config.list_logical_devices("GPU")]
    peaks = [tf.config.experimental.get_memory_info(name)["peak"] for name in devices]
    return max(peaks) / 1024**2 if peaks else None


def available_memory_bytes() -> int | None:
    """How much this process can allocate: what the host has left, or its container; None: unknown.

    What a container has read from files counts as used there until it is needed elsewhere.
    """
    limits = []
    if _HOST.exists():
        lines = _HOST.read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    if _LIMIT.exists() and (limit := _LIMIT.read_text().strip()) != "max":
        stat = dict(line.split() for line in _STAT.read_text().splitlines())
        used = int(_USED.read_text()) - int(stat.get("inactive_file", 0))
        limits.append(max(int(limit) - used, 0))
    return min(limits, default=None)


def gpu_memory_bytes() -> int | None:
    """Memory that TensorFlow can allocate on the smallest GPU; None without GPUs."""
    devices = device_lib.list_local_devices()
    return min((d.memory_limit for d in devices if d.device_type == "GPU"), default=None)
