"""Run the feature job in processes that kill themselves before their n-th change of the output.

``python -m tests.beam_features.job.suicide OUTPUT COPIES STEP ARGUMENTS…`` runs the job once per
n = 0, STEP, 2 STEP, … on a copy ``COPIES/n`` of OUTPUT, until a run comes to its end. Each run is a
fork of this process, and the signal is SIGKILL.
"""

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import beam_features.job.run  # noqa: F401 - before the forks
from beam_features.__main__ import main

_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def kill_before(n: int, directory: Path) -> None:
    """Let Python's own audit events count the changes below `directory`."""
    changes = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        if (event in _CHANGES or writes) and str(arguments[0]).startswith(str(directory)):
            if changes == n:
                os.kill(os.getpid(), signal.SIGKILL)
            changes += 1

    sys.addaudithook(watch)


def run_until(n: int, output: Path, words: list[str]) -> int:
    """Fork; return the status of the process, -9 if it was killed."""
    pid = os.fork()
    if pid == 0:
        kill_before(n, output)
        os._exit(main([*words, "--output", str(output)]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    output, copies, step, *words = sys.argv[1:]
    n, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        copy = Path(copies) / str(n)
        shutil.copytree(output, copy)
        status = run_until(n, copy, words)
        n += int(step)
    sys.exit(status)
