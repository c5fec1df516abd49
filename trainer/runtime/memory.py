"""Peak memory of this process."""

import resource
import sys
from pathlib import Path

import tensorflow as tf

_STATUS = Path("/proc/self/status")


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
