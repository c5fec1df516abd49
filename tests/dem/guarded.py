"""Go on in a child, and do there what the second word says.

Usage: python -m tests.dem.guarded LONGEST_S end|hear|deaf|join|save
"""

import os
import signal
import sys
import time

from dem.command import run_command
from dem.guard import Phase, go_on_in_child, phase
from dem.termination import watch_sigterm

JOIN_S = 2.0
SAVE_S = 2.0


def work(longest_s: float, how: str) -> None:
    watch_sigterm(ctrl_c=True)
    go_on_in_child(longest_s, JOIN_S)
    if how not in ("end", "hear"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    if how == "join":
        with phase(Phase.JOINS):
            time.sleep(60)
    elif how == "save":
        with phase(Phase.SAVES):
            time.sleep(SAVE_S)
            print("saved", flush=True)
        time.sleep(60)
    elif how == "end":
        raise SystemExit(7)
    else:
        time.sleep(60)


if __name__ == "__main__":
    sys.exit(run_command(lambda: work(float(sys.argv[1]), sys.argv[2]), debug=False))
