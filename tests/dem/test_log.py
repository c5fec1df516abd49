"""What real processes write to stderr, for people and for a cluster."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.processes import start

PLAIN = ["resuming at 50 %d", "warning: the disk is nearly full", "warning: two", "lines"]


def stderr_of(code: int, *words: str, **environment: str) -> str:
    """What the job writes on stderr, after a check of the rest."""
    process = start("tests.dem.chatty_job", *words, **environment)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (code, "data\n"), stderr
    return stderr


def objects_of(code: int, *words: str) -> list[dict[str, Any]]:
    """The JSON objects on stderr, a line each, without their times: these are now, in UTC."""
    lines = [json.loads(line) for line in stderr_of(code, *words, DEM_LOG="json").splitlines()]
    now = datetime.now(UTC)
    for line in lines:
        time = datetime.fromisoformat(line.pop("time"))
        assert time.utcoffset() == timedelta(0)
        assert now - timedelta(minutes=1) < time <= now
    return lines


def test_plain_lines_have_a_time_and_their_level() -> None:
    lines = stderr_of(0, "succeed").splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == PLAIN
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines[:3])


@pytest.mark.parametrize(
    ("how", "code", "last"),
    [
        ("fail", 1, "error: 3 of 4 failed"),
        ("sigterm", 143, "stopped: what is finished is saved; the same command resumes from there"),
    ],
)
def test_the_last_line_of_a_command_has_no_time(how: str, code: int, last: str) -> None:
    assert stderr_of(code, how).splitlines()[-1] == last


def test_json_has_the_fields_of_cloud_logging() -> None:
    assert objects_of(0, "succeed") == [
        {"severity": "INFO", "message": "resuming at 50 %d", "logger": "trainer.train.run"},
        {
            "severity": "WARNING",
            "message": "the disk is nearly full",
            "logger": "trainer.train.run",
        },
        {"severity": "WARNING", "message": "two\nlines", "logger": "other.package"},
    ]


def test_json_of_a_failure_is_an_error_with_the_exit_code() -> None:
    *_, warning, last = objects_of(1, "fail")
    assert warning["severity"] == "WARNING"
    assert "DeprecationWarning: old" in warning["message"]
    assert last == {
        "severity": "ERROR",
        "message": "3 of 4 failed",
        "logger": "dem.command",
        "exit_code": 1,
    }


def test_json_of_sigterm_is_no_error() -> None:
    last = objects_of(143, "sigterm")[-1]
    assert (last["severity"], last["exit_code"]) == ("INFO", 143)
    assert last["message"].startswith("stopped: ")


def test_json_of_debug_holds_the_traceback() -> None:
    last = objects_of(1, "fail", "--debug")[-1]
    assert last["stack_trace"].startswith("Traceback (most recent call last):\n")
    assert last["stack_trace"].endswith("JobError: 3 of 4 failed\n")


def test_an_unknown_format_is_refused() -> None:
    process = start("tests.dem.chatty_job", "succeed", DEM_LOG="xml")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (2, "")
    assert stderr == "error: DEM_LOG='xml' is unknown; choose one of: plain, json\n"
