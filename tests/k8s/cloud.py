"""A project of Google's cloud on this machine: the stand-in for gcloud, and what it knows."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.k8s import gcloud
from tests.processes import ROOT

SCRIPT = ROOT / "k8s" / "setup.sh"
PROJECT, BUCKET, REGION = "my-project", "my-bucket", "europe-west4"


class Cloud:
    """A project in a file, and the programs that see it."""

    def __init__(self, directory: Path) -> None:
        self._file, self._programs = directory / "state.json", directory / "bin"
        self._programs.mkdir()
        self.break_gcloud("nothing")
        self.add_program("sleep", "")
        for tool in ("kubectl", "gke-gcloud-auth-plugin"):
            self.add_program(tool, "exit 1")
        self.write(gcloud.new_state(PROJECT))

    def add_program(self, name: str, script: str) -> None:
        (self._programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._programs / name).chmod(0o755)

    def break_gcloud(self, command: str) -> None:
        """Let one command fail, as without a connection."""
        words = shlex.join([sys.executable, "-I", "-S", gcloud.__file__])
        self.add_program("gcloud", f'case "$*" in *"{command}"*) exit 1 ;; esac; exec {words} "$@"')

    def remove_program(self, name: str) -> None:
        (self._programs / name).unlink()

    def read(self) -> dict[str, Any]:
        return dict(json.loads(self._file.read_text()))

    def write(self, state: dict[str, Any]) -> None:
        self._file.write_text(json.dumps(state))

    def change(self, **values: object) -> None:
        self.write(self.read() | values)

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": f"{self._programs}:/usr/bin:/bin", "GCLOUD_STATE": str(self._file)}

    def set_up(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"PROJECT": PROJECT, "BUCKET": BUCKET}
        return subprocess.run(
            ["bash", str(SCRIPT), *options],
            env=self.environment | own | variables,
            capture_output=True,
            text=True,
        )

    def run_printed(self, stdout: str) -> None:
        """Run the commands that a dry run has printed."""
        for line in stdout.splitlines():
            if line.startswith("+ "):
                words = ["bash", "-c", line.removeprefix("+ ")]
                for _attempt in range(3):  # a new account is known after a while
                    finished = subprocess.run(words, env=self.environment, capture_output=True)
                    if finished.returncode == 0:
                        break
                assert finished.returncode == 0, (line, finished.stderr)
