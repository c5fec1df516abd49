"""The audio files below a directory, and why others that look like audio are not used."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from beam_features.schema.audio.files import AUDIO_SUFFIXES
from dem import storage

_SUFFIX = re.compile(r"\.[a-z0-9]{1,12}\Z")
_NAMED_SUFFIXES = 10


@dataclass(frozen=True)
class AudioTree:
    """What is below a directory.

    Attributes:
        uris: of the audio files, in order.
        skipped: reason and detail by URI of what looks like audio and is not used, in order.
        others: how many files that are not hidden have another suffix, the most frequent first.
    """

    uris: tuple[str, ...]
    skipped: Mapping[str, tuple[str, str]]
    others: Mapping[str, int]

    @property
    def left_out(self) -> str | None:
        """What to say of the others, in a line."""
        if not self.others:
            return None
        counts = [f"{suffix} {count}" for suffix, count in self.others.items()]
        named = [*counts[:_NAMED_SUFFIXES], *(["…"] if len(counts) > _NAMED_SUFFIXES else [])]
        total = sum(self.others.values())
        return f"left out {total} {'file' if total == 1 else 'files'} of other suffixes: " + (
            ", ".join(named)
        )

    @property
    def unused(self) -> str:
        """What to say after that there is no audio file: what there is instead; or nothing."""
        counts = Counter(reason for reason, _ in self.skipped.values())
        but = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        return (f" but {but}" if but else "") + (f"; {self.left_out}" if self.left_out else "")


def audio_below(root: str) -> AudioTree:
    """List the files below `root`, without a slash at its end, that have an audio suffix.

    Files are skipped, with a reason, if they are hidden, empty, in a directory that cannot be
    listed, or have a name that is not UTF-8; symbolic links if they lead out of `root`, to a
    directory, or nowhere.
    """
    sizes, obstacles = storage.list_sizes(root), storage.list_obstacles(root)
    skipped = dict(sorted(_skipped(root, sizes, obstacles)))
    uris = tuple(uri for uri in sizes if _is_audio(uri) and uri not in skipped)
    names = (uri[len(root) + 1 :] for uri in sizes if not _is_audio(uri))
    return AudioTree(uris, skipped, _count_suffixes(name for name in names if not _hidden(name)))


def has_text_name(uri: str) -> bool:
    """Whether it is valid UTF-8; Python represents other bytes of file names as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in uri)


def _skipped(
    root: str, sizes: Mapping[str, int], obstacles: Mapping[str, tuple[str, str]]
) -> Iterator[tuple[str, tuple[str, str]]]:
    for uri in {**sizes, **obstacles}:
        if not (_is_audio(uri) or os.path.isdir(uri)):
            continue
        if hidden := _hidden(uri[len(root) + 1 :]):
            yield uri, ("hidden", f"{hidden[0]!r} begins with a dot")
        elif uri in obstacles:
            yield uri, obstacles[uri]
        elif sizes[uri] == 0:
            yield uri, ("empty", "the file has 0 bytes")
        elif not has_text_name(uri):
            yield uri, ("bad_name", "its name is not UTF-8; rename it")


def _hidden(name: str) -> list[str]:
    return [part for part in name.split("/") if part.startswith(".")]


def _count_suffixes(names: Iterable[str]) -> dict[str, int]:
    found = (_SUFFIX.search(name.lower()) for name in names if not name.endswith("/"))
    return dict(Counter(match[0] if match else "without" for match in found).most_common())


def _is_audio(uri: str) -> bool:
    return uri.lower().endswith(AUDIO_SUFFIXES)
