"""Files on local disk and in object storage alike. The one module that knows Beam's filesystems."""

import glob
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, cast

from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

_TEMPORARY_SUFFIX = ".tmp"


def join(root: str, *names: str) -> str:
    """Join a URI and names."""
    return cast(str, FileSystems.join(root, *names))


def list_files(root: str) -> list[str]:
    """URIs of all files below `root`, at any depth, sorted; empty where there is no such root."""
    pattern = join(glob.escape(root.rstrip("/")), "**")
    (matched,) = FileSystems.match([pattern])
    return sorted(metadata.path for metadata in matched.metadata_list)


def exists(uri: str) -> bool:
    """Whether there is a file of that URI."""
    return bool(FileSystems.exists(uri))


@contextmanager
def open_binary(uri: str) -> Iterator[BinaryIO]:
    """Open a file for reading, seekable, as it is stored."""
    file = FileSystems.open(uri, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        yield file
    finally:
        file.close()


def read_text(uri: str) -> str:
    """Read a UTF-8 file; raises FileNotFoundError where there is none."""
    if not exists(uri):
        raise FileNotFoundError(uri)
    with open_binary(uri) as file:
        return file.read().decode()


@contextmanager
def atomic_write(uri: str) -> Iterator[BinaryIO]:
    """Write a file that appears under its name complete or not at all.

    The temporary name follows from the final one: a second try overwrites what a killed one left.
    """
    temporary = uri + _TEMPORARY_SUFFIX
    file = FileSystems.create(temporary, compression_type=CompressionTypes.UNCOMPRESSED)
    try:
        yield file
    except BaseException:
        file.close()
        delete([temporary])
        raise
    file.close()
    FileSystems.rename([temporary], [uri])


def write_text(uri: str, text: str) -> None:
    """Write a UTF-8 file atomically."""
    with atomic_write(uri) as file:
        file.write(text.encode())


def delete(uris: Sequence[str]) -> None:
    """Delete files; those that are gone already do not count."""
    present = [glob.escape(uri) for uri in uris if exists(uri)]
    if present:
        FileSystems.delete(present)


def delete_directory(uri: str) -> None:
    """Delete all files below `uri`, and the directory itself where the storage has such a thing."""
    delete(list_files(uri))
    if exists(uri):
        shutil.rmtree(uri)  # not FileSystems.delete, to which a "[" in a directory is a pattern


def make_directory(uri: str) -> None:
    """Make a directory where the storage has such a thing."""
    try:
        FileSystems.mkdirs(uri)
    except OSError:  # FileExistsError and BeamIOError are both
        if not exists(uri):
            raise
