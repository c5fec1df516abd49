"""Any tree of audio files: its directories are the labels, each file is a context of its own."""

from beam_features.datasets.names import Notes, normalise
from beam_features.datasets.split import draw_partitions
from beam_features.recording import Listing, Recording, Rejection
from beam_features.schema.audio.files import AUDIO_SUFFIXES
from beam_features.schema.audio.tree import audio_below
from dem.errors import InputError


def list_recordings(root: str, label_depth: int | None = None) -> Listing:
    """List the audio files below `root`; see `audio_below` for which are skipped.

    Args:
        root: the directory.
        label_depth: how many directories below `root` make the label; None: all.

    Raises:
        InputError: no file is left.
    """
    root = root.rstrip("/")
    tree, notes = audio_below(root), Notes("recording")
    if tree.left_out:
        notes.add(tree.left_out)
    if not tree.uris:
        raise InputError(
            f"no audio files below {root!r}{tree.unused}; --input takes a directory "
            f"with files such as {', '.join(AUDIO_SUFFIXES[:4])}"
        )
    skipped = tuple(Rejection(uri, "list", *why) for uri, why in tree.skipped.items())
    names = ((uri, uri[len(root) + 1 :]) for uri in tree.uris)
    recordings = (_recording(uri, name, _label(name, label_depth, notes)) for uri, name in names)
    return Listing(draw_partitions(recordings), skipped, notes.lines())


def _label(name: str, depth: int | None, notes: Notes) -> str | None:
    parents = name.split("/")[:-1][:depth]
    if not parents:
        return None
    label = "/".join(normalise(parent) or parent for parent in parents)
    notes.compare("label", "/".join(parents), label)
    return label


def _recording(uri: str, name: str, label: str | None) -> Recording:
    return Recording(
        recording_id=name,
        uri=uri,
        label=label,
        partition="",
        context_id=name,
        session_id=name,
        drawn=True,
    )
