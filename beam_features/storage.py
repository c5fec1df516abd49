"""Files on local disk and in object storage alike. The one module that knows Beam's filesystems.

Google's client itself retries what may pass, such as a 503 or a connection that ends, over two
minutes. What comes up here has outlived that.
"""

import glob
import io
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import BinaryIO, TextIO, cast

import google.auth.exceptions
import requests
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.cloud.storage.exceptions import InvalidResponse

from dem.access import bucket_of, forbidden, is_remote, no_bucket, out_of_reach
from dem.errors import InputError, JobError

_TEMPORARY = re.compile(r"(.+)\.[0-9a-f]{32}\.tmp", re.DOTALL)
_TRIES = 5
_FAULTS = (  # of object storage, or of the way there
    BeamIOError,
    GoogleAPIError,
    InvalidResponse,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
    ConnectionError,
)


@contextmanager
def naming(uri: str) -> Iterator[None]:
    """Name `uri` and the remedy where object storage refuses or fails below.

    Raises:
        RefusedError: a permission is missing, or the bucket.
        JobError: it fails.
    """
    try:
        yield
    except _FAULTS as error:
        if not is_remote(uri):
            raise
        raise _named(uri, error) from error


def _named(uri: str, error: Exception) -> JobError:
    """Say what has happened to `uri`."""
    cause = _cause(error)
    status = _status(cause)
    if status in (401, 403):
        return forbidden(uri)
    if status == 404 and not _has_bucket(uri):
        return no_bucket(uri)
    why = f"HTTP status {cause}" if isinstance(cause, int) else str(cause).strip()
    return out_of_reach(uri, (why or type(cause).__name__).splitlines()[0])


def _has_bucket(uri: str) -> bool:
    """Whether the bucket exists, told by whether it can be listed; true where we may not know."""
    try:
        FileSystems.match([f"{bucket_of(uri)}/no-such-object-*"])
    except _FAULTS as error:
        return _status(_cause(error)) != 404
    return True


def _status(cause: Exception | int) -> int | None:
    """HTTP status that something has come from."""
    if isinstance(cause, int):
        return cause
    if isinstance(cause, InvalidResponse):
        return int(cause.response.status_code)
    return getattr(cause, "code", None)


def _cause(error: Exception) -> Exception | int:
    """What Beam has wrapped: an exception of Google's client, or an HTTP status."""
    while isinstance(error, BeamIOError) and error.exception_details:
        details = [fault for fault in error.exception_details.values() if fault is not None]
        if not details:
            break
        if isinstance(details[0], int):
            return details[0]
        error = details[0]
    return error


class _Watched(io.BufferedIOBase):
    """A remote file that keeps the first error for whoever opened it.

    A decoder written in C calls back for bytes; there an exception is lost, and the file seems to
    have come to its end.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return self._file.read(-1 if size is None else size)
        except Exception as error:  # of whatever kind, it must not be lost
            self.error = self.error or error
            return b""

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def join(root: str, *names: str) -> str:
    """Join a URI and names."""
    return cast(str, FileSystems.join(root, *names))


def list_files(root: str) -> list[str]:
    """URIs of all files below `root`, at any depth, sorted; empty where there is no such root."""
    return list(list_sizes(root))


def list_sizes(root: str) -> dict[str, int]:
    """Bytes of each file that `list_files` gives, in its order."""
    pattern = join(glob.escape(root.rstrip("/")), "**")
    with naming(root):
        (matched,) = FileSystems.match([pattern])
    sizes = {metadata.path: metadata.size_in_bytes for metadata in matched.metadata_list}
    return dict(sorted(sizes.items()))


def list_obstacles(root: str) -> dict[str, tuple[str, str]]:
    """Say why `list_files` gives less than what is below `root`, or what it should not.

    Object storage has none of these.

    Returns:
        Reason and detail by path, in order: directories that may not be read; symbolic links out
        of `root`, to directories within it (never followed, it could have no end), or to nothing.
    """
    if is_remote(root):
        return {}
    home = os.path.realpath(root)
    obstacles: dict[str, tuple[str, str]] = {}

    def note(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            obstacles[str(error.filename)] = ("unreadable", error.strerror or str(error))

    for parent, directories, files in os.walk(root, onerror=note):
        for path in (os.path.join(parent, name) for name in (*directories, *files)):
            if os.path.islink(path) and (why := _fault_of_link(path, home)):
                obstacles[path] = why
    return dict(sorted(obstacles.items()))


def _fault_of_link(path: str, home: str) -> tuple[str, str] | None:
    target = os.path.realpath(path)
    if os.path.commonpath([home, target]) != home:
        return "symlink_outside", f"leads to {target!r}, outside of --input"
    if os.path.isdir(path):
        return "symlink_directory", f"leads to {target!r}, which is read where it is"
    return None if os.path.exists(path) else ("broken_link", f"leads to {target!r}: nothing there")


def check_uri(uri: str) -> None:
    """Raise an InputError where no storage has such URIs."""
    try:
        FileSystems.get_filesystem(uri)
    except ValueError as error:
        raise InputError(f"{uri!r} is of no storage known here; give a path or gs://…") from error


def is_file(uri: str) -> bool:
    """Whether there is a file of that URI, and not a directory."""
    return exists(uri) if is_remote(uri) else os.path.isfile(uri)


def exists(uri: str) -> bool:
    """Whether there is a file of that URI."""
    with naming(uri):
        return bool(FileSystems.exists(uri))


@contextmanager
def open_binary(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable, as it is stored.

    Raises:
        FileNotFoundError: there is none.
        JobError: object storage refuses or fails, now or while it is read.
    """
    with naming(uri):
        try:
            file = FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
        except NotFound as error:
            raise FileNotFoundError(uri) from error
    if not is_remote(uri):
        with closing(file):
            yield file
        return
    watched = _Watched(file)
    try:
        with closing(file):
            yield cast(BinaryIO, watched)
    finally:
        # Whatever else may be wrong follows from that.
        if watched.error:
            raise _named(uri, watched.error) from watched.error


def read_text(uri: str) -> str:
    """Read a UTF-8 file; raises FileNotFoundError where there is none."""
    if not exists(uri):
        raise FileNotFoundError(uri)
    with open_binary(uri) as file:
        return file.read().decode()


def read_range(uri: str, offset: int, length: int) -> bytes:
    """Read `length` bytes of a file from `offset` on."""
    with open_binary(uri) as file:
        file.seek(offset)
        return file.read(length)


@contextmanager
def open_text(uri: str) -> Iterator[TextIO]:
    """Open a UTF-8 table for reading, line ends as stored, without the mark Excel puts in front.

    Raises:
        FileNotFoundError: there is none.
    """
    if not exists(uri):
        raise FileNotFoundError(uri)
    with open_binary(uri) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield text


@contextmanager
def atomic_write(uri: str) -> Iterator[BinaryIO]:
    """Write a file that appears under its name complete or not at all.

    Every try has a temporary name of its own: what was killed may live on in another process, and
    two that write to one name make a file that neither meant. `intended_name` recognises them.
    """
    temporary = f"{uri}.{uuid.uuid4().hex}.tmp"
    with naming(uri):
        file = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
        try:
            yield file
        except BaseException:
            with suppress(*_FAULTS):  # the first fault is the one to tell
                file.close()
                delete([temporary])
            raise
        file.close()
        rename(temporary, uri)


def intended_name(uri: str) -> str | None:
    """The name that a temporary file of `atomic_write` was to get; None for any other file."""
    match = _TEMPORARY.fullmatch(uri)
    return match[1] if match else None


def rename(source: str, target: str) -> None:
    """Move a file within one storage, over what is there; fails where the source is gone."""
    with naming(target):
        FileSystems.rename([source], [target])


def write_text(uri: str, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with atomic_write(uri) as file:
        file.write(text.encode())


def delete(uris: Sequence[str]) -> None:
    """Delete files; those that are gone already, or go meanwhile, do not count."""
    for attempt in range(_TRIES):
        present = [glob.escape(uri) for uri in uris if exists(uri)]
        if not present:
            return
        try:
            with naming(uris[0]):
                FileSystems.delete(present)
        except BeamIOError:
            if attempt == _TRIES - 1:
                raise


def delete_directory(uri: str) -> None:
    """Delete all files below `uri`, and the directory itself where the storage has such a thing.

    Workers of a killed run may add to it and take from it meanwhile.
    """
    for attempt in range(_TRIES):
        delete(list_files(uri))
        if not exists(uri):
            return
        # not FileSystems.delete, to which a "[" in a directory is a pattern
        shutil.rmtree(uri, ignore_errors=attempt < _TRIES - 1)


def delete_empty_directories(*uris: str) -> None:
    """Delete those of the directories that hold nothing; object storage has no such thing."""
    for uri in uris:
        with suppress(OSError):
            os.rmdir(uri)


def make_directory(uri: str) -> None:
    """Make a directory where the storage has such a thing."""
    try:
        FileSystems.mkdirs(uri)
    except OSError:  # FileExistsError and BeamIOError are both
        if not exists(uri):
            raise
