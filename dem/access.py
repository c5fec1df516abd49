"""Errors of storage, worded alike by everything that reads and writes files; versions of files."""

from dataclasses import dataclass
from typing import Literal

from dem.errors import InputError, JobError

Access = Literal["read", "write"]

AT_ONCE = 32
"""Requests to object storage at a time; one takes some 50 ms, whatever the size."""

_used: set[tuple[str, Access]] = set()  # buckets that this process has read from or written to


@dataclass(frozen=True)
class FileVersion:
    """A state of a file: another size, time or generation means that its content may differ."""

    bytes: int
    modified_s: float  # since 1970
    version: str  # size and time of modification in ns, or the generation of an object
    checksum: str | None = None  # of an object's content, as storage lists it


NO_FILE = FileVersion(0, 0.0, "")
"""The version of a file that is missing."""


def is_remote(uri: str) -> bool:
    """Whether a URI is in object storage, and no path of this machine."""
    return "://" in uri


def bucket_of(uri: str) -> str:
    """The bucket of a remote URI, such as ``gs://name``."""
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{path.partition('/')[0]}"


def note_access(uri: str, access: Access) -> None:
    """Note that storage granted `access`: a later refusal is no fault of the arguments."""
    if is_remote(uri):
        _used.add((bucket_of(uri), access))


def forbidden(uri: str, access: Access) -> InputError | JobError:
    """What to raise where a permission is missing.

    It is a fault of the arguments, unless the same was granted before in this process: a permission
    that is withdrawn in the middle may come back, so a retry can help there.
    """
    remedy = (
        "grant the account that this runs as access to the bucket, or use another account: "
        "docs/buckets.md"
        if is_remote(uri)
        else "change the permissions, or run this as another user"
    )
    was_granted = is_remote(uri) and (bucket_of(uri), access) in _used
    return (JobError if was_granted else InputError)(f"permission denied for {uri}; {remedy}")


def no_bucket(uri: str) -> InputError:
    """What to raise where the bucket does not exist."""
    return InputError(f"there is no bucket {bucket_of(uri)} for {uri}; create it or fix the URI")


def unreachable(uri: str, why: str) -> JobError:
    """What to raise where storage still fails after all retries."""
    return JobError(
        f"cannot reach {uri} after retries ({why}); run the same command again to resume once the "
        "storage answers"
    )


def unwritable(uri: str, why: str) -> JobError:
    """What to raise where a file cannot be written, such as on a full disk."""
    return JobError(
        f"cannot write to {uri}: {why}; free space or check the path, then run the same command "
        "again to resume"
    )
