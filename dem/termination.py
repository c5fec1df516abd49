"""SIGTERM and Ctrl-C end the launcher at once, with one line: finished shards are kept anyway."""

import os
import signal
from types import FrameType

from dem.errors import ExitCode
from dem.log import write_last_line


def end_on_signals() -> None:
    """Install the handlers. Process 1 of a container would otherwise ignore SIGTERM."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    """Leave without Beam's shutdown, which waits for its workers; these end when we are gone."""
    write_last_line(
        "stopped: finished shards are kept, the same command resumes", ExitCode.TERMINATED
    )
    os._exit(ExitCode.TERMINATED)
