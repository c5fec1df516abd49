"""Receive a signal at a given moment, and carry on as if nothing had happened.

Usage: python -m tests.dem.sleeper SIGTERM|SIGINT before|within|within-nested|twice
"""

import contextlib
import functools
import os
import signal
import sys
import time

from dem.termination import before_exit, unsaved_state, watch_sigterm


def main(name: str, when: str) -> None:
    number = signal.Signals[name]
    watch_sigterm(ctrl_c=number is signal.SIGINT)
    if when == "before":
        os.kill(os.getpid(), number)
    nested = unsaved_state() if when == "within-nested" else contextlib.nullcontext()
    with unsaved_state():
        with nested:
            os.kill(os.getpid(), number)
            if when == "twice":
                clean_up = functools.partial(print, "cleaned up", flush=True)
                os.kill(os.getpid(), number)  # of the same press
                time.sleep(1.1)
                with before_exit(clean_up):
                    os.kill(os.getpid(), number)
        print("saved", flush=True)
    print("went on", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
