"""Get SIGTERM at a moment that is named, and go on as if nothing were.

Usage: python -m tests.trainer.sleeper before|within|within-nested
"""

import contextlib
import os
import signal
import sys

from trainer.runtime.termination import unsaved_state, watch_sigterm


def main(when: str) -> None:
    watch_sigterm()
    if when == "before":
        os.kill(os.getpid(), signal.SIGTERM)
    nested = unsaved_state() if when == "within-nested" else contextlib.nullcontext()
    with unsaved_state():
        with nested:
            os.kill(os.getpid(), signal.SIGTERM)
        print("saved", flush=True)
    print("went on", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
