"""Title, artist and album from the tags of an audio file, read by tinytag."""

import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from dem import storage

_LOG = logging.getLogger(__name__)
_THREADS = 8


@dataclass(frozen=True)
class Tags:
    """What a file says of itself; None is unknown."""

    title: str | None = None
    artist: str | None = None
    album: str | None = None


def read_tags(uris: Iterable[str]) -> Iterator[Tags]:
    """Read the tags of many files at the same time, in the order of the files."""
    with ThreadPoolExecutor(_THREADS) as threads:
        yield from threads.map(read_file_tags, uris)


def read_file_tags(uri: str) -> Tags:
    """Read the tags of a file; empty where it has none or they cannot be read."""
    from tinytag import TinyTag

    try:
        with storage.open_binary(uri) as file:
            tags = TinyTag.get(uri, file_obj=file, duration=False)
    except Exception as error:  # tags never decide whether a recording is used
        _LOG.debug(f"no tags of {uri}: {error}")
        return Tags()
    return Tags(*(_cleaned(value) for value in (tags.title, tags.artist, tags.album)))


def _cleaned(text: str | None) -> str | None:
    """Without surrounding blanks and control characters; None if nothing is left."""
    printable = "".join(c if c.isprintable() else " " for c in text or "")
    return " ".join(printable.split()) or None
