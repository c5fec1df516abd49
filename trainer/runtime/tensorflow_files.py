"""Files that TensorFlow itself reads and writes: event files, TFRecords, SavedModels.

Their errors become those of `dem.storage`. TensorFlow retries transient failures, such as a 503 or
a connection that is reset, ten times over three minutes. An error that is raised here has outlived
that.

TensorFlow takes the path of a SavedModel's variables for a pattern: ``run[1]`` matches ``run1``,
and a backslash quotes. It therefore gets local paths of our own.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator

import tensorflow as tf

from dem import storage
from dem.access import (
    Access,
    bucket_of,
    forbidden,
    is_remote,
    no_bucket,
    note_access,
    unreachable,
    unwritable,
)
from dem.errors import first_line

_REFUSALS = (tf.errors.PermissionDeniedError, tf.errors.UnauthenticatedError)
_OUTAGES = (
    tf.errors.AbortedError,  # what is left of a failure after TensorFlow's last retry
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnavailableError,
    tf.errors.UnknownError,
)


@contextlib.contextmanager
def local_path(directory: str) -> Iterator[str]:
    """Make a local directory accessible by a path without characters of patterns."""
    with tempfile.TemporaryDirectory() as parent:
        link = os.path.join(parent, "directory")
        os.symlink(os.path.abspath(directory), link)
        yield link


@contextlib.contextmanager
def local_copy(directory: str, files: Iterable[str]) -> Iterator[str]:
    """Make files of a directory readable by such a path; those of a bucket are copied.

    Raises:
        JobError: the bucket refuses or fails.
    """
    if not is_remote(directory):
        with local_path(directory) as path:
            yield path
        return
    with tempfile.TemporaryDirectory() as path:
        for file in files:
            storage.copy(storage.join(directory, file), os.path.join(path, file))
        yield path


@contextlib.contextmanager
def reading(uri: str) -> Iterator[None]:
    """Name `uri` and the remedy where TensorFlow cannot read it in the body.

    Files that are not there, and failures of local disks, pass unchanged.

    Raises:
        InputError: a bucket is missing, or refuses what it has not granted before.
        JobError: a bucket fails.
    """
    with _naming(uri, "read"):
        yield


@contextlib.contextmanager
def writing(uri: str) -> Iterator[None]:
    """Name `uri` and the remedy where TensorFlow or NumPy cannot write below it in the body.

    Raises:
        InputError: a bucket is missing, or refuses what it has not granted before.
        JobError: a bucket fails, or the disk is full.
    """
    try:
        with _naming(uri, "write"):
            yield
    except (OSError, tf.errors.OpError) as error:
        why = first_line(error)
        raise unwritable(uri, why) from error


@contextlib.contextmanager
def _naming(uri: str, access: Access) -> Iterator[None]:
    try:
        yield
    except _REFUSALS as error:
        raise forbidden(uri, access) from error
    except tf.errors.NotFoundError as error:
        if is_remote(uri) and not storage.is_directory(bucket_of(uri)):
            raise no_bucket(uri) from error
        raise
    except _OUTAGES as error:
        if is_remote(uri):
            raise unreachable(uri, _reason(error)) from error
        raise
    note_access(uri, access)


def _reason(error: Exception) -> str:
    """What went wrong in one line: of an answer with JSON in it, its message."""
    text = str(error).strip() or type(error).__name__
    before, with_body, body = text.partition(" with body '")
    if with_body:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return f"{before}: {json.loads(body.rpartition(chr(39))[0])['error']['message']}"
    return text.splitlines()[0]
