"""M3U playlists: UTF-8, one path per line, with what ``#EXTINF`` says of each."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dem.access import is_remote
from similarity.index.songs import Song

_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Entry:
    """A line of a playlist: its path as written, and the ``#`` lines in front of it."""

    path: str
    comments: tuple[str, ...] = ()


def parse_m3u(data: bytes) -> list[Entry]:
    """Read a playlist: UTF-8 with or without mark, else Latin-1; any line ends.

    File names that are not UTF-8 keep their bytes, as Python represents them.
    """
    data = data.removeprefix(_MARK)
    entries, comments = [], []
    for line in data.decode(errors="surrogateescape").splitlines():
        text = line.strip("\r\n")
        if text.startswith("#"):
            if text != "#EXTM3U":
                comments.append(text)
        elif text.strip():
            entries.append(Entry(text, tuple(comments)))
            comments = []
    return entries


def format_m3u(lines: Iterable[tuple[Song | None, str]]) -> bytes:
    """Write a playlist of songs and their paths, LF at the ends; names are kept byte for byte.

    Args:
        lines: a song, or None where nothing is known, and the path to write.
    """
    text = ["#EXTM3U"]
    for song, path in lines:
        if song is not None:
            text.append(f"#EXTINF:{round(song.seconds)},{title_of(song)}")
        text.append(path)
    return ("\n".join(text) + "\n").encode(errors="surrogateescape")


def title_of(song: Song) -> str:
    """Artist and title as players show them; the file's name where there is no title."""
    title = song.title or os.path.splitext(os.path.basename(song.recording))[0]
    return f"{song.artist} - {title}" if song.artist else title


def path_for(uri: str, directory: str | None) -> str:
    """The path of a file as a playlist has it.

    Args:
        uri: of the file.
        directory: what it is relative to; None: absolute. URIs stay as they are.
    """
    if is_remote(uri):
        return uri
    path = os.path.abspath(uri)
    return path if directory is None else os.path.relpath(path, directory).replace(os.sep, "/")


def resolve(entry: Entry, directory: str) -> str:
    """The absolute path, or URI, that an entry of a playlist in `directory` means."""
    if is_remote(entry.path):
        return entry.path
    return os.path.abspath(os.path.join(directory, entry.path.replace("\\", "/")))


def paths_of(songs: Sequence[Song], directory: str | None) -> list[tuple[Song | None, str]]:
    """Lines for `format_m3u`."""
    return [(song, path_for(song.uri, directory)) for song in songs]
