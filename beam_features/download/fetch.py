"""Fetch one archive: pooch checks and names it, the downloader here goes on after a break."""

import os
import re
import time
from pathlib import Path

import pooch
import requests
from tqdm import tqdm

from beam_features.download.catalogue import Archive
from dem.errors import JobError

_CHUNK_BYTES = 1 << 16  # what a kill may lose
_TIMEOUT_S = 30
_LONGEST_WAIT_S = 30
_BUSY = (429, 500, 502, 503, 504)

pooch.get_logger().setLevel("WARNING")


def fetch(archive: Archive, url: str, directory: Path, retries: int) -> Path:
    """Have a complete, checked archive in `directory`; one that is there already is not fetched.

    Raises:
        JobError: the server does not give the archive, or gives other bytes than published.
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
    except ValueError as error:  # pooch's word for a wrong checksum; it has removed its file
        part.unlink(missing_ok=True)
        raise JobError(f"{url}: {error} Run the same command again to fetch it anew.") from error
    part.unlink(missing_ok=True)
    return Path(path)


class _Broken(Exception):  # noqa: N818 - a state that the next attempt may leave
    """The transfer stopped early; what came is in the part file."""


class ResumingDownloader:
    """Downloader for pooch that appends to a part file by HTTP range requests (RFC 9110, 14).

    Args:
        part: keeps what has come so far, also when the process is killed.
        retries: how often to go on after a broken connection.
        first_wait_s: pause before the first retry; it doubles with each.
    """

    def __init__(self, part: Path, retries: int, first_wait_s: float = 1.0) -> None:
        self.part = part
        self.retries = retries
        self.first_wait_s = first_wait_s

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        """Fetch `url` into `output_file`.

        Raises:
            JobError: the server refuses, or the connection broke more often than `retries`.
        """
        for attempt in range(self.retries + 1):
            try:
                self._continue(url)
                break
            except _Broken as error:
                if attempt == self.retries:
                    raise JobError(
                        f"cannot fetch {url}: {error}; {self._have():,} bytes are kept, run the "
                        "same command again to go on from there"
                    ) from error
                time.sleep(min(self.first_wait_s * 2**attempt, _LONGEST_WAIT_S))
        _hand_over(self.part, Path(output_file))

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _continue(self, url: str) -> None:
        """Ask for what is missing and append it."""
        have = self._have()
        # Compressed transfer would make the ranges those of other bytes.
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
            raise JobError(f"cannot fetch {url}: {_reason(error)}; check --base-url") from error
        if not usable and not have:
            raise JobError(f"cannot fetch {url}: the server sends a part that was not asked for")
        if not usable:  # what we have is no beginning of what the server has
            self.part.unlink()
            self._continue(url)

    def _receive(self, response: requests.Response, have: int) -> bool:
        """Append the body to the part file; say whether the part file fits the server's."""
        status = response.status_code
        start, total = _range(response)
        if have and status == 416:  # nothing beyond: complete, if sizes agree
            return have == total
        if status == 206 and start != have:
            return False
        if status in _BUSY:
            raise _Broken(f"the server answers {status} {response.reason}")
        if status not in (200, 206):
            raise JobError(
                f"cannot fetch {response.url}: the server answers {status} {response.reason}; "
                "try later, or name a mirror with --base-url"
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
                disable=None,  # where stderr is no terminal
            ) as bar,
        ):
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
        if total is not None and self._have() != total:
            raise _Broken(f"the connection closed after {self._have():,} of {total:,} bytes")
        return True


def _range(response: requests.Response) -> tuple[int | None, int | None]:
    """Where the body starts in the file and how long the file is; None where it is not told."""
    if response.status_code == 200:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    stated = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", stated.strip())
    start, total = found.groups() if found else (None, None)
    return (None if start is None else int(start)), (None if total is None else int(total))


def _hand_over(part: Path, output: Path) -> None:
    """Give pooch the file under its temporary name.

    By a link, so that a kill while pooch computes the checksum does not lose the part file.
    """
    output.unlink(missing_ok=True)
    try:
        os.link(part, output)
    except OSError:  # a filesystem without hard links
        part.replace(output)


def _reason(error: requests.RequestException) -> str:
    """The first line of the innermost message that requests has wrapped."""
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", None) or inner).splitlines()[0]
