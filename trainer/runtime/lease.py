"""The lease of a job directory: one process at a time trains in it.

``JOB/lease.json`` names the owner and a deadline that a thread of it moves on. A lease is free when
the deadline has passed, or at once where the owner was a process of this machine and is gone. The
deadlines are compared with the clock of this machine, so clocks must agree to some seconds; an
owner that finds its lease taken stops.
"""

import contextlib
import functools
import json
import logging
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dem import storage
from dem.errors import InputError, JobError
from dem.termination import before_exit

_LOG = logging.getLogger(__name__)

LEASE = "lease.json"

DEADLINE_S = 60.0
_RENEWALS_PER_DEADLINE = 3
_PATIENCE = 1.25  # deadlines; an owner that is killed, or terminated by Kubernetes, is gone then
_PATIENCE_HERE_S = 5.0  # for an owner on this machine, which may be saving its state
_POLL_S = 1.0
_LONGEST_RELEASE_S = 5.0
_STATE, _START = 0, 19  # fields of /proc/PID/stat behind the name of the program


@dataclass(frozen=True)
class Owner:
    """The process that owns a job directory."""

    host: str
    pid: int
    since: str
    system: str  # in which `pid` is unique
    process_start: str | None  # tells the process from a later one of the same `pid`
    id: str
    expires_s: float  # since 1970

    def __str__(self) -> str:
        """For messages."""
        return f"process {self.pid} on {self.host}, since {self.since}"

    @classmethod
    def parse(cls, content: bytes | None) -> "Owner | None":
        """Read a lease; None where there is none, or no program of ours wrote it."""
        try:
            return cls(**json.loads(content or b"null"))
        except (ValueError, TypeError):
            return None

    @property
    def is_here(self) -> bool:
        """Whether it is a process of this machine, or container."""
        return self.system == _system()

    @property
    def is_gone(self) -> bool:
        """Whether its lease is free."""
        return time.time() > self.expires_s or (self.is_here and not self._lives_here)

    @property
    def _lives_here(self) -> bool:
        start = _start_of(self.pid)
        return start is not None and start == (self.process_start or start)

    def until(self, deadline_s: float) -> bytes:
        """The content of its lease, with a new deadline."""
        return json.dumps(asdict(replace(self, expires_s=time.time() + deadline_s))).encode()


@contextlib.contextmanager
def hold_lease(
    job_dir: str, terminated: Callable[[], bool], deadline_s: float = DEADLINE_S
) -> Iterator[Callable[[], bool]]:
    """Own a job directory in the body, which asks what it gets instead of `terminated`.

    Raises:
        JobError: another process owns it; or, from what the body asks, has taken it over.
    """
    lease = _Lease(job_dir, deadline_s)

    def stops() -> bool:
        lease.require()
        return terminated()

    with before_exit(lease.release):
        try:
            yield stops
        finally:
            lease.release()


class _Lease:
    """A lease that this process holds, and the thread that renews and releases it."""

    def __init__(self, job_dir: str, deadline_s: float) -> None:
        self._job_dir, self._deadline_s = job_dir, deadline_s
        self._uri = storage.join(job_dir, LEASE)
        self._owner = _this_process()
        self._content = _acquire(job_dir, self._uri, self._owner, deadline_s)
        self._lost_to: Owner | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def require(self) -> None:
        """Raise a JobError if another process has taken the lease over."""
        if self._lost_to:
            raise JobError(
                f"{self._job_dir} was taken over by {self._lost_to}: this process did not renew "
                f"its lease for {self._deadline_s:.0f} s; it stops without saving"
            )

    def release(self) -> None:
        """Free the directory; without an answer of the storage, the deadline does so later."""
        self._ending.set()
        self._thread.join(_LONGEST_RELEASE_S)

    def _keep(self) -> None:
        while not self._ending.wait(self._deadline_s / _RENEWALS_PER_DEADLINE):
            with contextlib.suppress(InputError, JobError, OSError):  # again at the next renewal
                self._renew()
        with contextlib.suppress(InputError, JobError, OSError):
            storage.swap(self._uri, self._content, None)

    def _renew(self) -> None:
        renewed = self._owner.until(self._deadline_s)
        if storage.swap(self._uri, self._content, renewed):
            self._content = renewed
            return
        there = _read(self._uri)
        owner = Owner.parse(there)
        if owner and owner.id != self._owner.id:
            self._lost_to = owner
        else:  # deleted, or an earlier renewal that seemed to fail
            renewed = self._owner.until(self._deadline_s)
            if storage.swap(self._uri, there, renewed):
                self._content = renewed


def _acquire(job_dir: str, uri: str, owner: Owner, deadline_s: float) -> bytes:
    """Write a lease as soon as the directory is free; return its content."""
    begin, said = time.monotonic(), False
    while True:
        there = _read(uri)
        other = Owner.parse(there)
        content = owner.until(deadline_s)
        if (other is None or other.is_gone) and storage.swap(uri, there, content):
            return content
        if other is None or other.is_gone:
            continue  # another process was faster
        patience_s = _PATIENCE * deadline_s
        if other.is_here:
            patience_s = min(patience_s, _PATIENCE_HERE_S)
        if time.monotonic() > begin + patience_s:
            raise JobError(
                f"{job_dir} is in use by {other}; stop that process, wait for its end, or choose "
                "another --job-dir"
            )
        if not said:
            _LOG.info(f"{job_dir} is in use by {other}: waiting up to {patience_s:.0f} s for it")
            said = True
        time.sleep(min(_POLL_S, deadline_s / 10))


def _read(uri: str) -> bytes | None:
    try:
        return storage.read_bytes(uri)
    except FileNotFoundError:
        return None


def _this_process() -> Owner:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    start, identity = _start_of(os.getpid()), uuid.uuid4().hex
    return Owner(platform.node(), os.getpid(), since, _system(), start, identity, 0.0)


@functools.cache
def _system() -> str:
    """What process ids are unique in: a namespace of a kernel that runs since its boot."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return platform.node()


def _start_of(pid: int) -> str | None:
    """When a process of this machine started, in units of the system; None if it has ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # that of another user
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # not Linux, or hidden
        return ""
    return None if fields[_STATE] in "ZX" else fields[_START]
