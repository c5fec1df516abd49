"""Own a job directory until a signal or the end of stdin.

Usage: python -m tests.trainer.runtime.lease_holder JOB
"""

import sys

from dem.termination import watch_sigterm
from trainer.runtime.lease import hold_lease


def main(job: str) -> None:
    terminated = watch_sigterm(ctrl_c=True)
    with hold_lease(job, terminated):
        print("held", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
