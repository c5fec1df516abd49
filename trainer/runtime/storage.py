"""Small files on local disk and in object storage alike, through TensorFlow's filesystems.

TensorFlow itself retries what may pass, such as a 503 or a connection that ends: ten times, over
three minutes. What comes up here has outlived that.
"""

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping

import keras
import tensorflow as tf

from dem.access import bucket_of, forbidden, is_remote, no_bucket, out_of_reach
from dem.errors import JobError

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
def naming(uri: str) -> Iterator[None]:
    """Name `uri` and the remedy where storage refuses or fails below.

    Files that are not there, and failures of local disks, pass unchanged.

    Raises:
        RefusedError: a permission is missing, or the bucket.
        JobError: object storage fails.
    """
    try:
        yield
    except _REFUSALS as error:
        raise forbidden(uri) from error
    except tf.errors.NotFoundError as error:
        if is_remote(uri) and not _has_bucket(uri):
            raise no_bucket(uri) from error
        raise
    except _OUTAGES as error:
        if is_remote(uri):
            raise out_of_reach(uri, _reason(error)) from error
        raise


def _has_bucket(uri: str) -> bool:
    """Whether the bucket exists; true where we may not know."""
    try:
        return bool(tf.io.gfile.exists(f"{bucket_of(uri)}/"))
    except tf.errors.OpError:
        return True


def _reason(error: Exception) -> str:
    """What went wrong in one line: of an answer with JSON in it, its message."""
    text = str(error).strip() or type(error).__name__
    before, with_body, body = text.partition(" with body '")
    if with_body:
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return f"{before}: {json.loads(body.rpartition(chr(39))[0])['error']['message']}"
    return text.splitlines()[0]


def join(root: str, *names: str) -> str:
    """Join a URI and names; a pathlib.Path would turn ``gs://`` into ``gs:/``."""
    return "/".join([root.rstrip("/"), *names])


def exists(uri: str) -> bool:
    """Whether there is a file or directory of that URI."""
    with naming(uri):
        return bool(tf.io.gfile.exists(uri))


def is_directory(uri: str) -> bool:
    """Whether there is a directory of that URI."""
    try:
        with naming(uri):  # tf.io.gfile.isdir takes an outage for a no
            return bool(tf.io.gfile.stat(uri).is_directory)
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        return False


def delete(uri: str) -> None:
    """Delete a file, if there is one."""
    if exists(uri):
        with naming(uri):
            tf.io.gfile.remove(uri)


def delete_tree(uri: str) -> None:
    """Delete a file, or a directory with all that is in it."""
    if is_directory(uri):
        with naming(uri):
            tf.io.gfile.rmtree(uri)
    else:
        delete(uri)


@contextlib.contextmanager
def writing(uri: str) -> Iterator[None]:
    """Name `uri` and the remedy where something below it cannot be written.

    Raises:
        JobError: the disk is full, say, or the permission is missing.
    """
    try:
        with naming(uri):
            yield
    except (OSError, tf.errors.OpError) as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise JobError(
            f"cannot write to {uri}: {why}; make space, or check the permissions, and run the same "
            "command again: it goes on from the last checkpoint"
        ) from error


def read_text(uri: str) -> str:
    """Read a UTF-8 file; raises FileNotFoundError where there is none."""
    if not exists(uri) or is_directory(uri):
        raise FileNotFoundError(uri)
    with naming(uri), tf.io.gfile.GFile(uri) as file:
        return str(file.read())


def read_bytes(uri: str) -> bytes:
    """Read a file."""
    with naming(uri), tf.io.gfile.GFile(uri, "rb") as file:
        return bytes(file.read())


def list_files(root: str) -> list[str]:
    """URIs of all files below a directory, at any depth, sorted."""
    files = []
    for name in list_names(root, ""):  # tf.io.gfile.walk takes an outage for an empty directory
        uri = join(root, name.rstrip("/"))
        # Object storage marks what is a directory; to ask for each would take long.
        below = name.endswith("/") if is_remote(root) else is_directory(uri)
        files += list_files(uri) if below else [uri]
    return sorted(files)


def list_names(directory: str, suffix: str) -> list[str]:
    """Names that end in `suffix`, directly in a directory; none where it does not exist."""
    if not is_directory(directory):
        return []
    with naming(directory):
        return sorted(name for name in tf.io.gfile.listdir(directory) if name.endswith(suffix))


def _make_parent(uri: str) -> None:
    """Make the directory of a file where the storage has such a thing.

    Object storage has none; TensorFlow would ask for the bucket again and again, for minutes where
    there is no such bucket, and needs a permission for it that writing does not need.
    """
    if not is_remote(uri):
        tf.io.gfile.makedirs(os.path.dirname(uri) or ".")


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file that appears under its name complete or not at all."""
    temporary = f"{uri}.tmp"
    with naming(uri):
        _make_parent(uri)
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(temporary, uri, overwrite=True)


def write_text(uri: str, text: str) -> None:
    """Write a UTF-8 file that appears complete or not at all."""
    write_bytes(uri, text.encode())


def copy(source: str, uri: str) -> None:
    """Copy a file to where it appears under its name complete or not at all."""
    temporary = f"{uri}.tmp"
    with naming(uri):
        _make_parent(uri)
        tf.io.gfile.copy(source, temporary, overwrite=True)
        tf.io.gfile.rename(temporary, uri, overwrite=True)


def upload_directory(local: str, uri: str, last: str) -> None:
    """Copy a local directory; the file `last` in it goes first and comes last: the marker."""
    delete(join(uri, last))
    names = [os.path.relpath(path, local) for path in list_files(local)]
    for name in sorted(names, key=lambda name: (name == last, name)):
        copy(os.path.join(local, name), join(uri, name))


def save_keras(model: keras.Model, uri: str, beside: Mapping[str, str] | None = None) -> None:
    """Write a ``.keras`` file that appears complete or not at all.

    Args:
        model: what to save.
        uri: where to.
        beside: text files to put into the archive, which Keras ignores; by name.
    """
    with tempfile.TemporaryDirectory() as directory:
        local = os.path.join(directory, "model.keras")
        model.save(local)
        with zipfile.ZipFile(local, "a") as archive:
            for name, text in (beside or {}).items():
                archive.writestr(name, text)
        copy(local, uri)


def load_keras(uri: str) -> keras.Model:
    """Load a ``.keras`` file without running code that it might carry."""
    with naming(uri):
        return keras.models.load_model(uri, compile=False, safe_mode=True)
