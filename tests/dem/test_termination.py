import os
import signal

import pytest

from dem.termination import unsaved_state, watch_sigterm
from tests.processes import run


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


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("when", ["before", "within", "within-nested"])
def test_elsewhere_it_ends_the_process_at_once(name: str, when: str) -> None:
    """Also one that came within `unsaved_state`, once that is left and all is saved."""
    ended = run("tests.dem.sleeper", name, when)
    assert ended.returncode == 143
    assert ended.stdout == ("" if when == "before" else "saved\n")
    assert ended.stderr.startswith("stopped: what is finished is saved")


def test_a_second_ctrl_c_does_not_wait_for_what_is_saved() -> None:
    ended = run("tests.dem.sleeper", "SIGINT", "twice")
    assert ended.returncode == 143
    assert ended.stdout == "cleaned up\n"
    assert ended.stderr.startswith("stopped at once: what was being saved is lost")


def test_ctrl_c_is_left_alone_unless_asked_for() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    try:
        watch_sigterm()
        assert signal.getsignal(signal.SIGINT) is before[1]
    finally:
        signal.signal(signal.SIGTERM, before[0])
