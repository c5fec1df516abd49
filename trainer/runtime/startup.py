"""Start TensorFlow: without its start-up chatter, which would bury our own lines, and with GPUs."""

import os
import sys
import tempfile

from dem.errors import InputError

REQUIRED_GPUS = "DEM_REQUIRED_GPUS"
"""Environment variable: so many GPUs the container has been given, which TensorFlow must see."""

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_QUIET = "3"  # errors become exceptions anyway


def load_tensorflow() -> None:
    """Import TensorFlow; what it says meanwhile is shown only if it fails.

    A lower log level in the environment means that somebody wants to see its messages: then all
    are.

    Raises:
        InputError: TensorFlow sees fewer GPUs than the environment asks for.
    """
    if os.environ.get(_LOG_LEVEL, _QUIET) == _QUIET:
        _import_quietly()
    required = os.environ.get(REQUIRED_GPUS, "")
    if required:
        import tensorflow as tf

        require_gpus(required, len(tf.config.list_physical_devices("GPU")))


def require_gpus(required: str, visible: int) -> None:
    """Compare what is asked for with what is there: without a GPU, TensorFlow takes the CPU.

    Raises:
        InputError: there are too few, or `required` is no number.
    """
    if not required.isdecimal():
        raise InputError(f"{REQUIRED_GPUS}={required!r} is not a number of GPUs; set it to one")
    if visible < int(required):
        raise InputError(
            f"{REQUIRED_GPUS}={required}, but TensorFlow sees {visible} GPUs; give the container "
            "that many, on a node whose driver nvidia-smi shows there, in an image with the gpu "
            f"extra; or unset {REQUIRED_GPUS} to run on what there is"
        )


def _import_quietly() -> None:
    os.environ[_LOG_LEVEL] = _QUIET  # which processes that we start inherit
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            said.seek(0)
            os.write(stderr, said.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
