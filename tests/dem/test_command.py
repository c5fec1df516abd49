"""Exit codes and the one line on stderr."""

import argparse

import pytest

from dem.command import add_settings_arguments, run_command
from dem.errors import InputError, JobError, Terminated

OUTCOMES = [
    (InputError("no 'x'; choose y"), 2, "error: no 'x'; choose y\n"),
    (JobError("3 of 4 failed"), 1, "error: 3 of 4 failed\n"),
    (Terminated("saved at step 7"), 143, "stopped: saved at step 7\n"),
    (KeyError("k"), 1, "error: KeyError: 'k' (--debug shows where)\n"),
    (RuntimeError("first\nsecond"), 1, "error: RuntimeError: first (--debug shows where)\n"),
    (OSError(), 1, "error: OSError: no message (--debug shows where)\n"),
]


def raising(error):
    def run():
        raise error

    return run


def test_success_is_0_and_silent(capsys):
    assert run_command(lambda: None, debug=False) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("error", "code", "line"), OUTCOMES)
def test_errors_are_one_line_without_traceback(capsys, error, code, line):
    assert run_command(raising(error), debug=False) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(("error", "code", "line"), OUTCOMES)
def test_debug_shows_the_traceback_before_the_line(capsys, error, code, line):
    assert run_command(raising(error), debug=True) == code
    stderr = capsys.readouterr().err
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert "in raising" in stderr or "in run" in stderr
    assert stderr.endswith("\n" + line)


def test_settings_arguments():
    parser = argparse.ArgumentParser()
    add_settings_arguments(parser)
    words = ["--set", "a=1", "b=[x,y]", "--config", "c.yaml", "--set", "d=2", "--debug"]
    parsed = vars(parser.parse_args(words))
    assert parsed == {"config": "c.yaml", "set": ["a=1", "b=[x,y]", "d=2"], "debug": True}
    assert vars(parser.parse_args([])) == {"config": None, "set": [], "debug": False}
