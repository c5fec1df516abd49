import os
import signal
from pathlib import Path

import pytest

from tests.processes import run
from trainer.runtime.termination import unsaved_state, watch_sigterm

SLEEPER = "tests.trainer.sleeper"


def test_sigterm_is_a_flag_while_there_is_unsaved_state() -> None:
    before = signal.getsignal(signal.SIGTERM)
    terminated = watch_sigterm()
    assert not terminated()
    try:
        with unsaved_state():
            os.kill(os.getpid(), signal.SIGTERM)
            assert terminated()
            watch_sigterm()  # anew, else this process would end here
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("when", ["before", "within", "within-nested"])
def test_elsewhere_it_ends_the_process_at_once(tmp_path: Path, when: str) -> None:
    """Also one that came within `unsaved_state`, once that is left and all is saved."""
    ended = run(SLEEPER, when)
    assert ended.returncode == 143
    assert ended.stdout == ("" if when == "before" else "saved\n")
    assert ended.stderr.startswith("stopped: progress is saved")
