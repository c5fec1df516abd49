"""Where the output may lie: not among the user's audio files."""

import os
from collections.abc import Iterable, Iterator

from beam_features.recording import Recording
from dem import storage
from dem.access import is_remote
from dem.errors import InputError


def check_not_within(output: str, source: str) -> None:
    """Refuse an output that is the input, or a directory in it.

    Args:
        output: ``--output``.
        source: ``--input``, a directory or a table.

    Raises:
        InputError: shards would lie among the audio files.
    """
    if _is_within(output, source):
        where = "is" if _is_within(source, output) else "is inside"
        raise InputError(
            f"--output {output!r} {where} --input {source!r}: the shards would lie among the audio "
            "files; choose another --output"
        )


def check_apart(recordings: Iterable[Recording], output: str) -> None:
    """Refuse an output with audio files in it, or audio files where ours are deleted.

    Raises:
        InputError: shards would lie among the audio files, or audio files would be deleted.
    """
    scratch = storage.join(output, "incomplete")
    for directory in sorted({recording.uri.rpartition("/")[0] for recording in recordings}):
        if _is_within(output, directory) and _is_within(directory, output):
            raise InputError(
                f"--output {output!r} holds recordings: the shards would lie among the audio "
                "files; choose another --output"
            )
        if _is_within(directory, scratch):
            raise InputError(
                f"there are recordings in {scratch!r}, which is deleted once the features are "
                "complete; choose another --output"
            )


def _is_within(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or below it, whatever it is called."""
    if is_remote(path) or is_remote(directory):
        return f"{_plain(path)}/".startswith(f"{_plain(directory)}/")
    try:
        there = os.stat(directory)
    except OSError:
        return False
    return any(os.path.samestat(os.stat(parent), there) for parent in _existing_parents(path))


def _plain(uri: str) -> str:
    """Without empty names: ``gs://bucket//Music/`` shows as the same folder."""
    scheme, separator, path = uri.partition("://")
    return scheme + separator + "/".join(part for part in path.split("/") if part)


def _existing_parents(path: str) -> Iterator[str]:
    """Yield the path and all directories above it that exist, links resolved."""
    path = os.path.realpath(path)
    while True:
        if os.path.exists(path):
            yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent
