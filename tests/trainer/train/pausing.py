"""Train, and pause where a function is entered: a host that is slow, or hangs.

``python -m tests.trainer.train.pausing HOW MODULE:FUNCTION:N ARGUMENTS…`` pauses at the N-th call,
from 0, of what MODULE knows as FUNCTION, and says so on stderr. HOW is a number of seconds, in
which other threads go on, as while a host fills its frame store; or ``stop``, as by SIGSTOP.
"""

import functools
import importlib
import itertools
import os
import signal
import sys
import time
from typing import Any

from trainer.train.__main__ import main

PAUSED = "paused"


def pause(how: str) -> None:
    """Say so, and pause."""
    print(PAUSED, file=sys.stderr, flush=True)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        time.sleep(float(how))


def pause_at(place: str, how: str) -> None:
    """Let this process pause where it gets there."""
    module_name, name, n = place.split(":")
    module, calls = importlib.import_module(module_name), itertools.count()
    function = getattr(module, name)

    @functools.wraps(function)
    def paused(*arguments: Any, **keywords: Any) -> Any:
        if next(calls) == int(n):
            pause(how)
        return function(*arguments, **keywords)

    setattr(module, name, paused)


if __name__ == "__main__":
    pause_at(sys.argv[2], sys.argv[1])
    sys.exit(main(sys.argv[3:]))
