"""Searches as a user starts them, over small encoders on synthetic tiles."""

import json
import signal
import subprocess
from pathlib import Path

import pandas as pd

from tests.cluster import finish, free_ports
from tests.processes import messages, start
from tuning.__main__ import main

FIXED = {
    "encoder": "dense",
    "encoder_width": 0.05,
    "encoder_depth": 1,
    "embedding_size": 8,
    "projection_size": 4,
    "loss": "triplet",
    "mining": "semi_hard",
    "learning_rate": 0.001,
    "weight_decay": 0.0001,
    "neighbourhood_s": 5.0,
    "augment": [],
    "batch_size": 16,
    "epochs": 2,
}
COLLAPSING = {
    "encoder": "conv2d",
    "encoder_width": 1.0,
    "encoder_depth": None,
    "mining": "hard",
    "margin": 4.0,
    "learning_rate": 1.0,
    "epochs": 8,
}
FAILURES = (  # with it: one learning rate of four trains
    "algorithm=random",
    "trials=4",
    "space.learning_rate={choices: [0.0001, 1.0, 2.0, 3.0]}",
)
UNFITTING = (  # each value is valid by itself; only a trial with both fails
    "trials=40",
    "algorithm=random",
    "space.projection_hidden={choices: [null, 16]}",
    "space.projection_size={choices: [8, null]}",
)
TOKEN = "known-to-chief-and-workers"
MARGINS = "space.margin={low: 0.1, high: 1.0, scale: log}"


def settings(*words: str, **fixed: object) -> list[str]:
    """``key=value`` words: the fixed values of the space, overridden by the arguments."""
    return [*(f"space.{key}={json.dumps(value)}" for key, value in (FIXED | fixed).items()), *words]


def command(data: Path, job: Path, words: list[str]) -> list[object]:
    return ["tuning", "--data", data, "--job-dir", job, "--set", *words]


def run_here(data: Path, job: Path, words: list[str]) -> int:
    """Run the command in this process; return its exit code."""
    signals = (signal.SIGTERM, signal.SIGINT)
    handlers = [signal.getsignal(number) for number in signals]
    _, *arguments = map(str, command(data, job, words))
    try:
        return main(arguments)
    finally:
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)


def trials_of(job: Path) -> pd.DataFrame:
    return pd.read_csv(job / "trials.csv", dtype={"trial": str, "reason": str}).set_index("trial")


class Cluster:
    """A chief and workers of one search, on this machine."""

    def __init__(self, data: Path, job: Path, words: list[str]) -> None:
        self._command = command(data, job, words)
        self._port = str(free_ports(1)[0])
        self.job = job

    def start(self, tuner_id: str) -> subprocess.Popen[str]:
        """Start the process of this id; an id that contains ``chief`` is the chief's."""
        return start(
            *self._command,
            KERASTUNER_TUNER_ID=tuner_id,
            KERASTUNER_ORACLE_IP="127.0.0.1",
            KERASTUNER_ORACLE_PORT=self._port,
            DEM_SEARCH_TOKEN=TOKEN,
        )


def said_until(process: subprocess.Popen[str], beginning: str) -> str:
    """Read stderr up to a line with this beginning; return all lines."""
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(line)
        if messages(line)[0].startswith(beginning):
            return "".join(lines)
    raise AssertionError(f"{beginning!r} was not logged:\n{''.join(lines)}")


def finish_all(*processes: subprocess.Popen[str]) -> list[subprocess.CompletedProcess[str]]:
    """Wait for the end of each process; kill those that remain after an error."""
    try:
        return [finish(process) for process in processes]
    finally:
        for process in processes:
            process.kill()
