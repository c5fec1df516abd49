"""Start TensorFlow without its start-up chatter, which would bury our own lines."""

import os
import sys
import tempfile

_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_QUIET = "3"  # errors become exceptions anyway


def load_tensorflow() -> None:
    """Import TensorFlow; what it says meanwhile is shown only if it fails.

    A lower log level in the environment means that somebody wants to see its messages: then all
    are.
    """
    if os.environ.get(_LOG_LEVEL, _QUIET) != _QUIET:
        return
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
