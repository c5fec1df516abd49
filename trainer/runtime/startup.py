"""Import TensorFlow without its start-up messages, and check that it sees the GPUs."""

import os
import sys
import tempfile

from dem.errors import InputError
from dem.termination import before_exit

REQUIRED_GPUS = "DEM_REQUIRED_GPUS"
"""Environment variable: number of GPUs that TensorFlow must see."""

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_QUIET = "3"  # errors become exceptions anyway


def load_tensorflow() -> None:
    """Import TensorFlow; its messages are shown only if the import fails.

    All are shown if the environment sets a log level lower than ours.

    Raises:
        InputError: TensorFlow sees fewer GPUs than the environment requires.
    """
    if os.environ.get(_LOG_LEVEL, _QUIET) == _QUIET:
        _import_quietly()
    required = os.environ.get(REQUIRED_GPUS, "")
    if required:
        import tensorflow as tf

        require_gpus(required, len(tf.config.list_physical_devices("GPU")))


def require_gpus(required: str, visible: int) -> None:
    """Refuse too few GPUs, since TensorFlow would fall back to the CPU without an error.

    Raises:
        InputError: there are too few, or `required` is not a number.
    """
    if not required.isdecimal():
        raise InputError(f"{REQUIRED_GPUS}={required!r} is not a number of GPUs; set it to one")
    if visible < int(required):
        raise InputError(
            f"{REQUIRED_GPUS}={required}, but TensorFlow sees {visible} GPUs; give the container "
            "that many, check that nvidia-smi works in it and that its image has the gpu extra, or "
            f"unset {REQUIRED_GPUS} to run without"
        )


def _import_quietly() -> None:
    os.environ[_LOG_LEVEL] = _QUIET  # child processes inherit it
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            with before_exit(lambda: os.dup2(stderr, 2)):  # for the line of a signal
                import tensorflow  # noqa: F401
        except BaseException:
            messages.seek(0)
            os.write(stderr, messages.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
