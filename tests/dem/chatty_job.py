"""A command that logs, and ends as it is told.

Usage: python -m tests.dem.chatty_job succeed|fail|sigterm [--debug]
"""

import logging
import os
import signal
import sys
import warnings

from tqdm import tqdm

from dem.command import run_command
from dem.errors import JobError
from dem.termination import watch_sigterm


def job(how: str) -> None:
    ours, other = logging.getLogger("trainer.train.run"), logging.getLogger("other.package")
    for _ in tqdm(range(1), disable=None):
        ours.info("resuming at 50 %d")
    ours.debug("too detailed")
    ours.warning("the disk is nearly full")
    other.info("too chatty")
    other.warning("two\nlines")
    print("data", flush=True)
    if how == "sigterm":
        watch_sigterm()
        os.kill(os.getpid(), signal.SIGTERM)
    if how == "fail":
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        raise JobError("3 of 4 failed")


if __name__ == "__main__":
    sys.exit(run_command(lambda: job(sys.argv[1]), debug="--debug" in sys.argv))
