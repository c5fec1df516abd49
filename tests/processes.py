"""Run the project's commands as a user does: in processes of their own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def start(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """Start ``python -m arguments…`` with more in the environment."""
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_ctrl_c,
    )


def _hear_ctrl_c() -> None:
    """Shells let what they start in the background ignore it, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(*arguments: object, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    """Run ``python -m arguments…`` to its end."""
    process = start(*arguments)
    try:
        stdout, stderr = process.communicate(timeout=timeout_s)
    finally:
        process.kill()  # what ran out of time must not go on beside other tests
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def messages(stderr: str) -> list[str]:
    """Lines of the plain log without their times."""
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in stderr.splitlines()]


def error_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what is wrong; a traceback would be more than one."""
    return error_in(finished.stderr)


def error_in(stderr: str) -> str:
    """The same, of what was written to stderr."""
    assert "Traceback" not in stderr, stderr
    (line,) = (line for line in stderr.splitlines() if line.startswith("error: "))
    return line
