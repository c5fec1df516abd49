"""Worker processes on this machine: a process imports Beam once and forks each worker.

``python -m beam_features.job.fork`` is that process; `ForkServer` is the launcher's side of it. The
server imports while the launcher does, so that workers are there when the plan is. It does nothing
else: a launcher has threads, and a process with threads cannot fork safely.

The server reads a line per worker from stdin and writes notes to stdout: what a worker reads, and
how it ended. At the end of stdin, which comes with that of the launcher, it kills its workers.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from beam_features.job.reading import noted_to

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_POLL_S = 0.2
_LONGEST_NOTE = 1000  # characters, escaped: a pipe takes lines of up to 4096 bytes as a whole


class ForkServer:
    """The launcher's side: starts workers, and hears that one has ended."""

    def __init__(self) -> None:
        self._lost: str | None = None
        self._reading: dict[str, str] = {}  # by worker
        self._leaving = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_error: object) -> None:
        """End all workers and the server."""
        self.expect_end()
        if self._process:
            self._end_workers()
            self._process.wait()

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start the server if it has not been started: its imports take two seconds."""
        if self._process is None:
            command = [sys.executable, "-m", __name__]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)  # noqa: S603 - of ours
            listen = partial(self._listen, self._process)
            threading.Thread(target=listen, name="workers", daemon=True).start()
        return self._process

    def start_worker(self, environment: Mapping[str, str]) -> None:
        """Fork a worker with these variables of Beam's, one of them its ``WORKER_ID``."""
        stdin = self.begin().stdin
        assert stdin
        with suppress(OSError, ValueError):  # it has ended, which `lost` says
            stdin.write(json.dumps(dict(environment)).encode() + b"\n")
            stdin.flush()

    def expect_end(self) -> None:
        """Take no end of a worker for a failure from now on."""
        self._leaving = True

    @property
    def lost(self) -> str | None:
        """Why the workers cannot go on; None while they can."""
        status = self._process.poll() if self._process else None
        if status is not None:
            self._lose(f"the process that starts workers {_how(status)}")
        return self._lost

    def _end_workers(self) -> None:
        assert self._process
        assert self._process.stdin
        with suppress(OSError):
            self._process.stdin.close()

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout
        for line in process.stdout:
            note = json.loads(line)
            if "status" in note:
                reading = self._reading.get(note["worker"])
                what = f" while it read {reading}" if reading else ""
                self._lose(f"a worker process {_how(note['status'])}{what}")
            else:
                self._reading[note["worker"]] = note["reading"]

    def _lose(self, why: str) -> None:
        if not self._leaving and self._lost is None:
            self._lost = why
            self._end_workers()  # the others would go on with work that is lost to Beam


def _how(status: int) -> str:
    """Say how a process ended; the kernel kills with SIGKILL where memory runs out."""
    if status >= 0:
        return f"ended with exit code {status}"
    name = signal.Signals(-status).name
    hint = " (out of memory?)" if -status == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def main() -> None:
    """Fork a worker per line of stdin until its end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the launcher decides
    notes = os.dup(_STDOUT)
    os.dup2(_STDERR, _STDOUT)
    work = _prepare()
    workers: dict[int, str] = {}
    for line in _lines(lambda: _reap(workers, notes)):
        environment = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become_worker(work, environment, notes)
        workers[pid] = environment["WORKER_ID"]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)  # the launcher waits, and Python takes half a second to leave Beam's modules


def _prepare() -> Callable[[Mapping[str, str]], None]:
    """Import what workers need; return what a worker does."""
    import logging

    from apache_beam.runners.worker.sdk_worker_main import create_harness

    import beam_features.job.pipeline  # noqa: F401 - before the forks
    from dem import log

    log.set_up()
    level = logging.getLogger().level

    def work(environment: Mapping[str, str]) -> None:
        logging.disable(logging.WARNING)  # Beam says how it sets itself up
        harness = create_harness(environment)[1]
        logging.getLogger().setLevel(level)
        logging.disable(logging.NOTSET)
        harness.run()

    return work


def _lines(meanwhile: Callable[[], None]) -> Iterator[bytes]:
    """Yield the lines of stdin; call `meanwhile` at short intervals."""
    rest = b""
    while True:
        meanwhile()
        if select.select([_STDIN], [], [], _POLL_S)[0]:
            read = os.read(_STDIN, 1 << 16)
            if not read:
                return
            *lines, rest = (rest + read).split(b"\n")
            yield from lines


def _reap(workers: dict[int, str], notes: int) -> None:
    for pid in list(workers):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            worker = workers.pop(pid)
            _write(notes, worker=worker, status=os.waitstatus_to_exitcode(status))


def _become_worker(
    work: Callable[[Mapping[str, str]], None], environment: Mapping[str, str], notes: int
) -> None:
    """Do a worker's work in this process, and end it."""
    code = 1
    try:
        os.close(_STDIN)
        worker = environment["WORKER_ID"]
        with noted_to(lambda what: _write(notes, worker=worker, reading=what[:_LONGEST_NOTE])):
            work(environment)
        code = 0
    finally:
        os._exit(code)


def _write(notes: int, **note: Any) -> None:
    os.write(notes, json.dumps(note).encode() + b"\n")


if __name__ == "__main__":
    main()
