"""Every command answers ``--help`` at once, and names itself."""

import time

import pytest

from tests.processes import run

COMMANDS = (
    "beam_features",
    "beam_features.download",
    "trainer.train",
    "trainer.classify",
    "trainer.crossval",
    "trainer.report",
    "trainer.embed",
    "trainer.export_onnx",
    "tuning",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_within_two_seconds(command: str) -> None:
    """The best of three, since other processes may keep the machine busy."""
    took_s = []
    for _ in range(3):
        begin = time.monotonic()
        answer = run(command, "--help")
        took_s.append(time.monotonic() - begin)
        assert answer.returncode == 0
        assert answer.stdout.startswith(f"usage: python -m {command} ")
    assert min(took_s) < 2


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_argument_is_exit_2(command: str) -> None:
    refused = run(command)
    assert refused.returncode == 2
    assert "the following arguments are required" in refused.stderr
