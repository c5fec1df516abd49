"""Any tree of audio files: the parent directory is the label, each file a context of its own."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping

from beam_features.datasets.split import split_by_hash
from beam_features.recording import Listing, Recording, Rejection
from beam_features.schema.audio.files import AUDIO_SUFFIXES
from dem import storage
from dem.errors import InputError


def list_recordings(root: str) -> Listing:
    """List the files below `root` that have an audio suffix.

    Files are skipped, with a reason, if they are hidden, empty, in a directory that cannot be
    listed, or have a name that is not UTF-8; symbolic links if they lead out of `root`, to a
    directory, or nowhere.

    Raises:
        InputError: no file is left.
    """
    root = root.rstrip("/")
    sizes, obstacles = storage.list_sizes(root), storage.list_obstacles(root)
    skipped = tuple(sorted(_skipped(root, sizes, obstacles), key=lambda rejection: rejection.uri))
    unused = {rejection.uri for rejection in skipped}
    uris = [uri for uri in sizes if _is_audio(uri) and uri not in unused]
    if not uris:
        counts = Counter(rejection.reason for rejection in skipped)
        but = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        raise InputError(
            f"no audio files below {root!r}{but and f' but {but}'}; --input takes a directory "
            f"with files such as {', '.join(AUDIO_SUFFIXES[:4])}"
        )
    return Listing(tuple(_recording(uri, uri[len(root) + 1 :]) for uri in uris), skipped)


def _skipped(
    root: str, sizes: Mapping[str, int], obstacles: Mapping[str, tuple[str, str]]
) -> Iterator[Rejection]:
    """Yield, once each, the files that look like recordings but are not used, and why."""
    for uri in {**sizes, **obstacles}:
        if not (_is_audio(uri) or os.path.isdir(uri)):
            continue
        hidden = [part for part in uri[len(root) + 1 :].split("/") if part.startswith(".")]
        if hidden:
            yield Rejection(uri, "list", "hidden", f"{hidden[0]!r} begins with a dot")
        elif uri in obstacles:
            yield Rejection(uri, "list", *obstacles[uri])
        elif sizes[uri] == 0:
            yield Rejection(uri, "list", "empty", "the file has 0 bytes")
        elif not _is_text(uri):
            yield Rejection(uri, "list", "bad_name", "its name is not UTF-8; rename it")


def _is_text(uri: str) -> bool:
    """Whether it is valid UTF-8; Python represents other bytes of file names as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in uri)


def _is_audio(uri: str) -> bool:
    return uri.lower().endswith(AUDIO_SUFFIXES)


def _recording(uri: str, name: str) -> Recording:
    parents = name.split("/")[:-1]
    return Recording(
        recording_id=name,
        uri=uri,
        label=parents[-1] if parents else None,
        partition=split_by_hash(name),
        context_id=name,
        session_id=name,
    )
