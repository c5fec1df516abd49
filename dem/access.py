"""What every stage says when storage does not do what it should, so that all say it alike."""

from collections.abc import Iterator
from contextlib import contextmanager

from dem.errors import InputError, JobError


class RefusedError(JobError):
    """Storage refuses: without a permission, or a bucket, a retry does not help."""


def is_remote(uri: str) -> bool:
    """Whether a URI is in object storage, and no path of this machine."""
    return "://" in uri


def bucket_of(uri: str) -> str:
    """The bucket of a remote URI, such as ``gs://name``."""
    scheme, _, path = uri.partition("://")
    return f"{scheme}://{path.partition('/')[0]}"


def forbidden(uri: str) -> RefusedError:
    """What to raise where a permission is missing."""
    remedy = (
        "give the account that this runs as access to the bucket, or run it as another one: "
        "docs/buckets.md"
        if is_remote(uri)
        else "change the permissions, or run this as another user"
    )
    return RefusedError(f"permission denied for {uri}; {remedy}")


def no_bucket(uri: str) -> RefusedError:
    """What to raise where the bucket does not exist."""
    return RefusedError(
        f"there is no bucket {bucket_of(uri)} for {uri}; create it, or correct the URI"
    )


def out_of_reach(uri: str, why: str) -> JobError:
    """What to raise where storage fails, and has gone on failing for as long as it was retried."""
    return JobError(
        f"{uri} is out of reach, also after retries ({why}); once the storage answers again, run "
        "the same command: it goes on from there"
    )


@contextmanager
def named_by_user() -> Iterator[None]:
    """Make a refusal a fault of the arguments: for the first use of a URI that stands in them.

    Raises:
        InputError: it is refused below.
    """
    try:
        yield
    except RefusedError as error:
        raise InputError(str(error)) from error
