"""The audio files below a directory, and why others that look like audio are not used."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from beam_features.schema.audio.files import AUDIO_SUFFIXES
from dem import storage


@dataclass(frozen=True)
class AudioTree:
    """What is below a directory.

    Attributes:
        uris: of the audio files, in order.
        skipped: reason and detail by URI of what looks like audio and is not used, in order.
    """

    uris: tuple[str, ...]
    skipped: Mapping[str, tuple[str, str]]


def audio_below(root: str) -> AudioTree:
    """List the files below `root`, without a slash at its end, that have an audio suffix.

    Files are skipped, with a reason, if they are hidden, empty, in a directory that cannot be
    listed, or have a name that is not UTF-8; symbolic links if they lead out of `root`, to a
    directory, or nowhere.
    """
    sizes, obstacles = storage.list_sizes(root), storage.list_obstacles(root)
    skipped = dict(sorted(_skipped(root, sizes, obstacles)))
    return AudioTree(tuple(uri for uri in sizes if _is_audio(uri) and uri not in skipped), skipped)


def has_text_name(uri: str) -> bool:
    """Whether it is valid UTF-8; Python represents other bytes of file names as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in uri)


def _skipped(
    root: str, sizes: Mapping[str, int], obstacles: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, tuple[str, str]]]:
    for uri in {**sizes, **obstacles}:
        if not (_is_audio(uri) or os.path.isdir(uri)):
            continue
        hidden = [part for part in uri[len(root) + 1 :].split("/") if part.startswith(".")]
        if hidden:
            yield uri, ("hidden", f"{hidden[0]!r} begins with a dot")
        elif uri in obstacles:
            yield uri, obstacles[uri]
        elif sizes[uri] == 0:
            yield uri, ("empty", "the file has 0 bytes")
        elif not has_text_name(uri):
            yield uri, ("bad_name", "its name is not UTF-8; rename it")


def _is_audio(uri: str) -> bool:
    return uri.lower().endswith(AUDIO_SUFFIXES)
