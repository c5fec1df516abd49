"""Objects of Google Cloud Storage, by Google's own client. Imported at the first ``gs://`` URI.

The client retries transient failures, such as a 503 or a connection that is reset, for two
minutes. An error that is raised here has outlived that.
"""

import functools
import http.client
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import BinaryIO, NamedTuple, cast

import google.auth.exceptions
import requests
import urllib3
from google.api_core.exceptions import (
    GoogleAPICallError,
    GoogleAPIError,
    NotFound,
    PreconditionFailed,
    RetryError,
)
from google.cloud.storage import Blob, Client
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from dem.access import (
    AT_ONCE,
    Access,
    FileVersion,
    bucket_of,
    forbidden,
    no_bucket,
    note_access,
    unreachable,
)
from dem.errors import InputError, JobError, first_line

_READ_CHUNK, _WRITE_CHUNK = 16 << 20, 8 << 20  # bytes
_FAULTS = (  # of object storage, or of the way there
    GoogleAPIError,
    InvalidResponse,
    DataCorruption,
    google.auth.exceptions.GoogleAuthError,
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ConnectionError,
)


@functools.cache
def _client() -> Client:
    """The process's client; anonymous where there are no credentials, for public buckets."""
    client = _make_client()
    connections = requests.adapters.HTTPAdapter(pool_maxsize=AT_ONCE)  # by default ten
    for scheme in ("https://", "http://"):  # as Google's documentation does
        client._http.mount(scheme, connections)  # noqa: SLF001
    return client


def _make_client() -> Client:
    try:
        return Client(project=None)
    except google.auth.exceptions.DefaultCredentialsError as error:
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            raise InputError(f"GOOGLE_APPLICATION_CREDENTIALS: {first_line(error)}") from error
        return Client.create_anonymous_client()


@contextmanager
def _naming(uri: str, access: Access) -> Iterator[None]:
    """Turn the client's exceptions into errors that name `uri` and the remedy."""
    try:
        yield
    except _FAULTS as error:
        raise _named(uri, access, error) from error
    note_access(uri, access)


def _named(uri: str, access: Access, error: Exception) -> InputError | JobError | FileNotFoundError:
    """What to raise instead of an exception of the client."""
    cause = error.cause if isinstance(error, RetryError) and error.cause else error
    status = _status(cause)
    if status in (401, 403):
        return forbidden(uri, access)
    if status == 404:
        return FileNotFoundError(uri) if _has_bucket(uri) else no_bucket(uri)
    return unreachable(uri, first_line(cause))


def _status(error: Exception) -> int | None:
    """The HTTP status that an exception comes from."""
    if isinstance(error, InvalidResponse):
        return int(error.response.status_code)
    return error.code if isinstance(error, GoogleAPICallError) else None


def _has_bucket(uri: str) -> bool:
    """Whether the bucket exists, judged by a listing; true where that is not allowed."""
    try:
        _list(bucket_of(uri), "", limit=1)
    except NotFound:
        return False
    except _FAULTS:
        return True
    return True


def _split(uri: str) -> tuple[str, str]:
    """Bucket and name of an object."""
    bucket, _, name = uri.partition("://")[2].partition("/")
    return bucket, name


def _blob(uri: str) -> Blob:
    bucket, name = _split(uri)
    if not (bucket and name):
        raise InputError(f"{uri!r} names no object; give gs://BUCKET/NAME")
    return _client().bucket(bucket).blob(name)


def _list(uri: str, prefix: str, limit: int | None = None) -> dict[str, int]:
    """Bytes of the objects by name, in order; with `limit` of so many only."""
    found = _client().list_blobs(
        _split(uri)[0], prefix=prefix, max_results=limit, fields="items(name,size),nextPageToken"
    )
    return {blob.name: blob.size for blob in found}


def _below(uri: str) -> str:
    """The prefix of all names below a directory; empty for a bucket."""
    name = _split(uri)[1].rstrip("/")
    return name and f"{name}/"


def is_file(uri: str) -> bool:
    """Whether there is an object of that name."""
    with _naming(uri, "read"):
        return bool(_split(uri)[1]) and bool(_blob(uri).exists(retry=DEFAULT_RETRY))


def is_directory(uri: str) -> bool:
    """Whether there is any object below that name, or a bucket that may be empty."""
    prefix = _below(uri)
    with _naming(uri, "read"):
        try:
            return bool(_list(uri, prefix, limit=1)) or not prefix
        except NotFound:  # no such bucket
            return False


def sizes(uri: str) -> dict[str, int]:
    """Bytes of each object below a directory by URI, in order, without marks of directories."""
    with _naming(uri, "read"):
        found = _list(uri, _below(uri))
    bucket = bucket_of(uri)
    return {f"{bucket}/{name}": size for name, size in found.items() if not name.endswith("/")}


def versions(uri: str) -> dict[str, FileVersion]:
    """The current version of each object directly in a directory, by URI."""
    fields = "items(name,size,updated,generation,md5Hash,crc32c),prefixes,nextPageToken"
    with _naming(uri, "read"):
        found = list(
            _client().list_blobs(_split(uri)[0], prefix=_below(uri), delimiter="/", fields=fields)
        )
    bucket = bucket_of(uri)
    return {
        f"{bucket}/{blob.name}": FileVersion(
            blob.size,
            blob.updated.timestamp(),
            f"generation {blob.generation}",
            _checksum(blob),
        )
        for blob in found
    }


def _checksum(blob: Blob) -> str | None:
    """The checksum that storage knows; objects that were composed of others have no MD5."""
    return f"md5 {blob.md5_hash}" if blob.md5_hash else blob.crc32c and f"crc32c {blob.crc32c}"


def names(uri: str) -> list[str]:
    """Names of the objects and directories directly in a directory."""
    prefix = _below(uri)
    with _naming(uri, "read"):
        try:
            found = _client().list_blobs(_split(uri)[0], prefix=prefix, delimiter="/")
            paths = [blob.name for blob in found] + list(found.prefixes)
        except NotFound:  # no such bucket
            return []
    return sorted({path[len(prefix) :].rstrip("/") for path in paths} - {""})


def read(uri: str) -> bytes:
    """Read an object as it is stored."""
    with _naming(uri, "read"):
        return bytes(_blob(uri).download_as_bytes(raw_download=True))


@contextmanager
def open_reader(uri: str) -> Iterator[BinaryIO]:
    """Open an object for reading, seekable; an error in a caller's callback is not lost."""
    with _naming(uri, "read"):
        blob = _blob(uri)
        blob.reload()
        reader = blob.open("rb", chunk_size=_READ_CHUNK, raw_download=True)
    watched = _Watched(reader)
    try:
        with closing(reader):
            yield cast(BinaryIO, watched)
    finally:
        # Whatever else may be wrong follows from that.
        if watched.error:
            raise _named(uri, "read", watched.error) from watched.error


class _Watched(io.BufferedIOBase):
    """An open object that keeps the first error for whoever opened it.

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


def write(uri: str, data: bytes) -> None:
    """Write an object, which appears when its upload is complete."""
    with _naming(uri, "write"):
        _blob(uri).upload_from_string(
            data, content_type="application/octet-stream", retry=DEFAULT_RETRY
        )


def swap(uri: str, old: bytes | None, new: bytes | None) -> bool:
    """Replace the content `old` of an object by `new`, unless it is another; None: no object."""
    with _naming(uri, "write"):
        current = _read_current(uri)
        if current.content != old:
            return False
        blob = _blob(uri)
        try:
            if new is not None:
                blob.upload_from_string(
                    new,
                    content_type="application/octet-stream",
                    if_generation_match=current.generation,
                    retry=DEFAULT_RETRY,
                )
            elif old is not None:
                blob.delete(if_generation_match=current.generation, retry=DEFAULT_RETRY)
        except (NotFound, PreconditionFailed):
            # Another was faster; or this is a repeated request, and the answer to it was lost.
            if not _has_bucket(uri):
                raise
            return _read_current(uri).content == new
    return True


class _Current(NamedTuple):
    content: bytes | None
    generation: int  # 0: there is no object, as in conditions of the service


def _read_current(uri: str) -> _Current:
    """Read an object together with its generation."""
    while True:
        blob = _blob(uri)
        try:
            blob.reload()
            generation = blob.generation  # which a download may reset
            content = blob.download_as_bytes(if_generation_match=generation, raw_download=True)
        except NotFound:
            return _Current(None, 0)
        except PreconditionFailed:  # replaced between the two requests
            continue
        return _Current(content, generation)


@contextmanager
def open_writer(uri: str) -> Iterator[BinaryIO]:
    """Open an object for writing; it appears when the body ends, and never after an exception."""
    with (
        _naming(uri, "write"),
        _blob(uri).open(
            "wb",
            chunk_size=_WRITE_CHUNK,
            content_type="application/octet-stream",
            ignore_flush=True,  # zipfile flushes; an upload cannot
            retry=DEFAULT_RETRY,
        ) as writer,
    ):
        yield writer


def rename(source: str, target: str) -> None:
    """Move an object within one bucket or to another; a copy, then a deletion."""
    with _naming(source, "write"):
        old, new = _blob(source), _blob(target)
        token, _, _ = new.rewrite(old, retry=DEFAULT_RETRY)
        while token:
            token, _, _ = new.rewrite(old, token=token, retry=DEFAULT_RETRY)
    delete([source])


def delete(uris: list[str]) -> None:
    """Delete objects; those that are gone already do not count."""
    if len(uris) <= 1:
        for uri in uris:
            _delete(uri)
    else:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            list(threads.map(_delete, uris))


def _delete(uri: str) -> None:
    with _naming(uri, "write"):
        try:
            _blob(uri).delete(retry=DEFAULT_RETRY)
        except NotFound:
            return


def delete_tree(uri: str) -> None:
    """Delete all objects below a directory, or the object of that name."""
    with _naming(uri, "read"):
        found = _list(uri, _below(uri))
    bucket = bucket_of(uri)
    delete([f"{bucket}/{name}" for name in found] or [uri])
