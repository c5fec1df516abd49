"""Files on local disk and in Cloud Storage alike: the one layer for both, and cheap to import.

Every function raises errors that name the URI and the remedy: an InputError where storage refuses
what it has not granted before in this process, a JobError where it fails later. A file that is not
there is a FileNotFoundError. Google's client is imported at the first ``gs://`` URI.
"""

import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import BinaryIO

from dem.access import AT_ONCE, Access, FileVersion, forbidden, is_remote, unwritable
from dem.errors import InputError

_TEMPORARY = re.compile(r"(.+)\.[0-9a-f]{32}\.tmp", re.DOTALL)
_TRIES = 5
_COPY_CHUNK = 8 << 20  # bytes
_READ_AHEAD = 8 * AT_ONCE


def check_uri(uri: str) -> None:
    """Raise an InputError where no storage has such URIs."""
    if is_remote(uri) and not uri.startswith("gs://"):
        raise InputError(f"unsupported storage {uri!r}; give a path or gs://…")
    if is_remote(uri) and re.search(r"[\r\n]", uri):
        raise InputError(f"{uri!r} has a line break, which Cloud Storage allows in no name")


def _gcs(uri: str) -> ModuleType:
    """The module of Cloud Storage, whose import takes half a second."""
    check_uri(uri)
    from dem import gcs

    return gcs


@contextmanager
def _naming(uri: str, access: Access) -> Iterator[None]:
    """Name a local file and the remedy where it cannot be read or written below."""
    try:
        yield
    except PermissionError as error:
        raise forbidden(uri, access) from error
    except OSError as error:
        if access == "write":
            raise unwritable(uri, error.strerror or str(error)) from error
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            raise FileNotFoundError(uri) from error
        raise


def join(root: str, *names: str) -> str:
    """Join a URI and names; a pathlib.Path would turn ``gs://`` into ``gs:/``."""
    return "/".join([root.rstrip("/"), *names]) if is_remote(root) else os.path.join(root, *names)


def is_within(uri: str, directory: str) -> bool:
    """Whether a URI is a directory or below it, by whatever path or name it is reached."""
    if is_remote(uri) or is_remote(directory):
        return f"{_plain(uri)}/".startswith(f"{_plain(directory)}/")
    path, home = os.path.realpath(uri), os.path.realpath(directory)
    if os.path.commonpath([path, home]) == home:
        return True
    if not os.path.exists(home):
        return False
    # A file system may ignore case, or show a directory in two places.
    return any(os.path.samefile(parent, home) for parent in _existing_parents(path))


def _existing_parents(path: str) -> Iterator[str]:
    """Yield a path and all directories above it that exist."""
    while True:
        if os.path.exists(path):
            yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _plain(uri: str) -> str:
    """Without empty names: ``gs://bucket//Music/`` shows as the same folder."""
    scheme, separator, path = uri.partition("://")
    return scheme + separator + "/".join(part for part in path.split("/") if part)


def exists(uri: str) -> bool:
    """Whether there is a file or directory of that URI."""
    return is_file(uri) or is_directory(uri)


def is_file(uri: str) -> bool:
    """Whether there is a file of that URI, and not a directory."""
    return bool(_gcs(uri).is_file(uri)) if is_remote(uri) else os.path.isfile(uri)


def is_directory(uri: str) -> bool:
    """Whether there is a directory of that URI; in a bucket, any object below it."""
    return bool(_gcs(uri).is_directory(uri)) if is_remote(uri) else os.path.isdir(uri)


def list_files(root: str) -> list[str]:
    """URIs of all files below `root`, at any depth, sorted; empty where there is no such root."""
    if is_remote(root):
        return list(_gcs(root).sizes(root))

    def check(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise error

    with _naming(root, "read"):
        walk = os.walk(_top(root), onerror=check, followlinks=True)
        return sorted(os.path.join(parent, name) for parent, _, names in walk for name in names)


def list_sizes(root: str) -> dict[str, int]:
    """Bytes of each file below `root` in order, without those that `list_obstacles` gives."""
    if is_remote(root):
        return dict(_gcs(root).sizes(root))
    sizes = {}
    for parent, _, names in os.walk(_top(root)):
        for path in (os.path.join(parent, name) for name in names):
            with suppress(OSError):  # gone, or a link to nothing
                sizes[path] = os.stat(path).st_size
    return dict(sorted(sizes.items()))


def file_versions(uris: Iterable[str]) -> dict[str, FileVersion]:
    """The current version of each file by URI; those that do not exist are left out.

    Objects are found by one listing of each directory.
    """
    uris = list(uris)
    found = {}
    for uri in uris:
        if not is_remote(uri):
            with suppress(OSError):
                stat = os.stat(uri)
                version = f"{stat.st_size}:{stat.st_mtime_ns}"
                found[uri] = FileVersion(stat.st_size, stat.st_mtime, version)
    for directory in sorted({uri.rpartition("/")[0] for uri in uris if is_remote(uri)}):
        found |= _gcs(directory).versions(directory)
    return {uri: found[uri] for uri in uris if uri in found}


def _top(root: str) -> str:
    return root.rstrip("/") or "/"


def list_obstacles(root: str) -> dict[str, tuple[str, str]]:
    """Say what below `root` cannot be read or leads elsewhere; buckets have no such things.

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


def list_names(directory: str, suffix: str = "") -> list[str]:
    """Names of files and directories directly in a directory; none where it does not exist."""
    if is_remote(directory):
        names = _gcs(directory).names(directory)
    else:
        with _naming(directory, "read"):
            names = os.listdir(directory) if os.path.isdir(directory) else []
    return sorted(name for name in names if name.endswith(suffix))


def read_bytes(uri: str) -> bytes:
    """Read a file; raises FileNotFoundError where there is none."""
    if is_remote(uri):
        return bytes(_gcs(uri).read(uri))
    with _naming(uri, "read"), open(uri, "rb") as file:
        return file.read()


def read_each(uris: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Read many files, several at a time; yield the URI and content of those that are there."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for first in range(0, len(uris), _READ_AHEAD):
            some = uris[first : first + _READ_AHEAD]
            for uri, content in zip(some, threads.map(_read_if_there, some), strict=True):
                if content is not None:
                    yield uri, content


def _read_if_there(uri: str) -> bytes | None:
    try:
        return read_bytes(uri)
    except FileNotFoundError:
        return None


def read_text(uri: str) -> str:
    """Read a UTF-8 file; raises FileNotFoundError where there is none."""
    return read_bytes(uri).decode()


@contextmanager
def open_binary(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable, as it is stored.

    Raises:
        OSError: a local file cannot be opened or read.
        FileNotFoundError: there is none.
        JobError: a bucket refuses or fails, now or while it is read.
    """
    if is_remote(uri):
        with _gcs(uri).open_reader(uri) as file:
            yield file
    else:
        with open(uri, "rb") as file:
            yield file


def read_range(uri: str, offset: int, length: int) -> bytes:
    """Read `length` bytes of a file from `offset` on."""
    with open_binary(uri) as file:
        file.seek(offset)
        return file.read(length)


@contextmanager
def atomic_write(uri: str) -> Iterator[BinaryIO]:
    """Write a file that appears under its name complete or not at all.

    An object appears when its upload ends. On disk every try has a temporary name of its own: a
    killed job may live on in another process, and two that write to one name make a file that
    neither meant. `intended_name` recognises them.
    """
    if is_remote(uri):
        with _gcs(uri).open_writer(uri) as file:
            yield file
        return
    temporary = f"{uri}.{uuid.uuid4().hex}.tmp"
    with _naming(uri, "write"):
        make_directory(os.path.dirname(uri) or ".")
        file = open(temporary, "wb")  # noqa: SIM115 - closed below, before the renaming
    try:
        yield file
        with _naming(uri, "write"):
            file.close()
            os.replace(temporary, uri)
    except BaseException:
        with suppress(OSError):  # the first error is the one to report
            file.close()
        with suppress(OSError):
            os.unlink(temporary)
        raise


def intended_name(uri: str) -> str | None:
    """The name that a temporary file of `atomic_write` was to get; None for any other file."""
    match = _TEMPORARY.fullmatch(uri)
    return match[1] if match else None


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file that appears under its name complete or not at all."""
    if is_remote(uri):
        _gcs(uri).write(uri, data)
    else:
        with _naming(uri, "write"), atomic_write(uri) as file:
            file.write(data)


def write_text(uri: str, text: str) -> None:
    """Write a UTF-8 file that appears under its name complete or not at all."""
    write_bytes(uri, text.encode())


def swap(uri: str, old: bytes | None, new: bytes | None) -> bool:
    """Replace the content `old` of a file by `new`, unless it is another one; None: no such file.

    Returns:
        Whether it was `old`. Of several processes that try at the same time, one succeeds.
    """
    if is_remote(uri):
        return bool(_gcs(uri).swap(uri, old, new))
    with _locked(os.path.dirname(uri) or "."):
        if (read_bytes(uri) if os.path.lexists(uri) else None) != old:
            return False
        if new is None:
            delete(uri)
        else:
            write_bytes(uri, new)
    return True


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Exclude other processes that do the same; on some network file systems nothing does."""
    make_directory(directory)
    with _naming(directory, "write"):
        descriptor = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def copy(source: str, target: str) -> None:
    """Copy a file, within one storage or between two, to where it appears complete."""
    with open_binary(source) as file, _naming(target, "write"), atomic_write(target) as copied:
        shutil.copyfileobj(file, copied, _COPY_CHUNK)


def upload_directory(local: str, uri: str, last: str) -> None:
    """Copy a local directory; the file `last` in it is deleted first and comes last: the marker."""
    delete(join(uri, last))
    names = [os.path.relpath(path, local) for path in list_files(local)]
    for name in sorted(names, key=lambda name: (name == last, name)):
        copy(os.path.join(local, name), join(uri, name))


def rename(source: str, target: str) -> None:
    """Move a file within one storage, over what is there.

    Raises:
        FileNotFoundError: the source is gone.
    """
    if is_remote(source):
        _gcs(source).rename(source, target)
        return
    with _naming(target, "write"):
        try:
            os.replace(source, target)
        except FileNotFoundError as error:
            if os.path.lexists(source):
                raise
            missing = error
        else:
            return
    raise FileNotFoundError(source) from missing


def delete(*uris: str) -> None:
    """Delete files; those that are gone already do not count."""
    remote = [uri for uri in uris if is_remote(uri)]
    if remote:
        _gcs(remote[0]).delete(remote)
    for uri in uris:
        if not is_remote(uri):
            with _naming(uri, "write"), suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(uri)


def delete_tree(uri: str) -> None:
    """Delete a file, or a directory with all that is in it, while others may write to it."""
    if is_remote(uri):
        _gcs(uri).delete_tree(uri)
        return
    if not os.path.isdir(uri) or os.path.islink(uri):
        delete(uri)
        return
    for attempt in range(_TRIES):
        with _naming(uri, "write"):
            shutil.rmtree(uri, ignore_errors=attempt < _TRIES - 1)
        if not os.path.lexists(uri):
            return


def delete_empty_directories(*uris: str) -> None:
    """Delete those of the directories that hold nothing; object storage has no such thing."""
    for uri in uris:
        with suppress(OSError):
            os.rmdir(uri)


def make_directory(uri: str) -> None:
    """Make a directory where the storage has such a thing."""
    if not is_remote(uri):
        with _naming(uri, "write"):
            os.makedirs(uri, exist_ok=True)
