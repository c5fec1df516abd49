"""Download one archive: pooch verifies and names it, the downloader here resumes transfers."""

import os
import re
import time
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from beam_features.download.catalogue import Archive
from dem.errors import JobError

_CHUNK_BYTES = 1 << 16  # at most lost by a kill
_TIMEOUT_S = 30
_LONGEST_WAIT_S = 30
_BUSY = (429, 500, 502, 503, 504)

pooch.get_logger().setLevel("WARNING")


def fetch(archive: Archive, url: str, directory: Path, retries: int) -> Path:
    """Return the path of the verified archive in `directory`; download it if it is not there.

    Raises:
        JobError: the server does not send the archive, or its checksum differs.
    """
    part = directory / f"{archive.name}.part"
    try:
        path = pooch.retrieve(
            url,
            archive.checksum,
            fname=archive.name,
            path=directory,
            downloader=ResumingDownloader(part, retries),
        )
    except ValueError as error:  # what pooch raises for a wrong checksum; it has deleted its file
        part.unlink(missing_ok=True)
        raise JobError(f"{url}: {error} Run the same command to download it again.") from error
    part.unlink(missing_ok=True)
    return Path(path)


class _Broken(Exception):  # noqa: N818 - the next attempt may succeed
    """The transfer stopped early; the bytes received are in the part file."""


class ResumingDownloader:
    """Downloader for pooch that appends to a part file by HTTP range requests (RFC 9110, 14).

    Args:
        part: keeps the bytes received so far, even if the process is killed.
        retries: how often to resume after a broken connection.
        first_wait_s: pause before the first retry; it doubles with each.
    """

    def __init__(self, part: Path, retries: int, first_wait_s: float = 1.0) -> None:
        self.part = part
        self.retries = retries
        self.first_wait_s = first_wait_s

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Download `url` to `output_file`.

        Raises:
            JobError: the server refuses, or the connection broke more than `retries` times.
        """
        for attempt in range(self.retries + 1):
            try:
                self._continue(url)
                break
            except _Broken as error:
                if attempt == self.retries:
                    raise JobError(
                        f"cannot download {url}: {error}; {self._have():,} bytes are kept, the "
                        "same command resumes"
                    ) from error
                time.sleep(min(self.first_wait_s * 2**attempt, _LONGEST_WAIT_S))
        _hand_over(self.part, Path(output_file))

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str) -> None:
        """Request the missing bytes and append them."""
        have = self._have()
        # With a compressed transfer the ranges would count compressed bytes.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
                usable = self._receive(response, have)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _Broken(_reason(error)) from error
        except requests.RequestException as error:
            raise JobError(f"cannot download {url}: {_reason(error)}; check --base-url") from error
        if not usable and not have:
            raise JobError(f"cannot download {url}: the server sent a range that was not requested")
        if not usable:  # the part file is not the beginning of the server's file
            self.part.unlink()
            self._continue(url)

    def _receive(self, response: requests.Response, have: int) -> bool:
        """Append the body to the part file; return whether the part file fits the server's."""
        status = response.status_code
        start, total = _range(response)
        if have and status == 416:  # no more bytes: complete if the sizes agree
            return have == total
        if status == 206 and start != have:
            return False
        if status in _BUSY:
            raise _Broken(f"the server returned {status} {response.reason}")
        if status not in (200, 206):
            raise JobError(
                f"cannot download {response.url}: the server returned {status} {response.reason}; "
                "try again later, or name a mirror with --base-url"
            )
        fresh = status == 200  # also from a server that ignores ranges
        with (
            self.part.open("wb" if fresh else "ab", buffering=0) as file,
            tqdm(
                desc=self.part.stem,
                initial=0 if fresh else have,
                total=total,
                unit="B",
                unit_scale=True,
                disable=None,  # unless stderr is a terminal
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and self._have() != total:
            raise _Broken(f"the connection closed after {self._have():,} of {total:,} bytes")
        return True


def _range(response: requests.Response) -> tuple[int | None, int | None]:
    """Return the body's offset in the file and the file's length; None if not stated."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    stated = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", stated.strip())
    start, total = found.groups() if found else (None, None)
    return (None if start is None else int(start)), (None if total is None else int(total))


def _hand_over(part: Path, output: Path) -> None:
    """Link the file to pooch's temporary name.

    A link, so that a kill while pooch computes the checksum does not lose the part file.
    """
    output.unlink(missing_ok=True)
    try:
        os.link(part, output)
    except OSError:  # a filesystem without hard links
        part.replace(output)


def _reason(error: requests.RequestException) -> str:
    """Return the first line of the innermost message that requests has wrapped."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", None) or inner).splitlines()[0]
