"""Any tree of audio files: the parent directory is the label, each file a context of its own."""

from collections import Counter

from beam_features.datasets.split import split_by_hash
from beam_features.recording import Listing, Recording, Rejection
from beam_features.schema.audio.files import AUDIO_SUFFIXES
from beam_features.schema.audio.tree import audio_below
from dem.errors import InputError


def list_recordings(root: str) -> Listing:
    """List the audio files below `root`; see `audio_below` for which are skipped.

    Raises:
        InputError: no file is left.
    """
    root = root.rstrip("/")
    tree = audio_below(root)
    if not tree.uris:
        counts = Counter(reason for reason, _ in tree.skipped.values())
        but = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
        raise InputError(
            f"no audio files below {root!r}{but and f' but {but}'}; --input takes a directory "
            f"with files such as {', '.join(AUDIO_SUFFIXES[:4])}"
        )
    skipped = (Rejection(uri, "list", *why) for uri, why in tree.skipped.items())
    recordings = (_recording(uri, uri[len(root) + 1 :]) for uri in tree.uris)
    return Listing(tuple(recordings), tuple(skipped))


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
