"""The number format that the encoder computes in, and checks of it before a run starts.

Weights, normalisation, distances, loss and optimizer stay in float32, whatever the encoder uses.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from dem.errors import InputError

_CPU_INFO = Path("/proc/cpuinfo")  # Linux only; elsewhere there is no warning
_LEAST_CAPABILITY = {  # of NVIDIA GPUs with matrix units for the format
    "mixed_float16": (7, 0),
    "mixed_bfloat16": (8, 0),
}


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Make Keras build layers that compute in `precision`, except those with their own type."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def scaled(
    optimizer: keras.optimizers.Optimizer, values: Sequence[tf.Tensor], *, up: bool
) -> list[tf.Tensor]:
    """Multiply or divide by the optimizer's loss scale, if it has one.

    In float16, gradients below 6e-8 vanish, so the loss is multiplied before they are computed
    (arXiv 1710.03740, sec. 3.2). The scale is a power of two: nothing is rounded.
    """
    if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return list(values)
    scale = tf.convert_to_tensor(optimizer.dynamic_scale)
    return [value * scale if up else value / scale for value in values]


def warnings_about(precision: str, *, on_gpu: bool) -> list[str]:
    """Warn where the devices are slow with a precision."""
    if precision == "float32":
        return []
    if on_gpu:
        return _warnings_about_gpus(precision)
    flags = _CPU_INFO.read_text() if _CPU_INFO.exists() else ""
    flag = {"mixed_bfloat16": "avx512_bf16", "mixed_float16": "avx512_fp16"}[precision]
    if not flags or flag in flags:
        return []
    return [f"this CPU has no {flag}: precision={precision} is slower here than float32"]


def _warnings_about_gpus(precision: str) -> list[str]:
    least = _LEAST_CAPABILITY[precision]
    warnings = []
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", least) < least:
            name = details.get("device_name", gpu.name)
            warnings.append(f"{name} is not faster with precision={precision} than with float32")
    return warnings


def check_jit(encoder: keras.Model, replicas: int) -> None:
    """Refuse XLA if batch statistics cross replicas: XLA code cannot communicate.

    Raises:
        InputError: the encoder synchronises batch norm over several replicas.
    """
    synchronised = any(getattr(layer, "synchronized", False) for layer in encoder.layers)
    if replicas > 1 and synchronised:
        raise InputError(
            f"jit_compile=true does not work on {replicas} replicas with the batch norm of encoder "
            f"{encoder.name!r}; set jit_compile=false, or replicas=1 on one host"
        )
