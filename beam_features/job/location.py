"""Where the output may lie: not among the user's audio files."""

import os
from collections.abc import Iterable

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
    is_place = is_remote(source) or os.path.exists(source)  # unlike sample:SEED
    if is_place and storage.is_within(output, source):
        where = "is" if storage.is_within(source, output) else "is inside"
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
        if storage.is_within(output, directory) and storage.is_within(directory, output):
            raise InputError(
                f"--output {output!r} holds recordings: the shards would lie among the audio "
                "files; choose another --output"
            )
        if storage.is_within(directory, scratch):
            raise InputError(
                f"there are recordings in {scratch!r}, which is deleted once the features are "
                "complete; choose another --output"
            )
