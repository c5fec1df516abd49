"""Any tree of audio files: the parent directory is the label, each file a context of its own."""

from beam_features import storage
from beam_features.audio import AUDIO_SUFFIXES
from beam_features.plan import split_by_hash
from beam_features.recording import Recording
from beam_features.schema.errors import InputError


def list_recordings(root: str) -> list[Recording]:
    """List the audio files below `root`, told by their suffix.

    Raises:
        InputError: there is none.
    """
    root = root.rstrip("/")
    uris = [uri for uri in storage.list_files(root) if uri.lower().endswith(AUDIO_SUFFIXES)]
    if not uris:
        raise InputError(
            f"no audio files below {root!r}; --input takes a directory with files such as "
            f"{', '.join(AUDIO_SUFFIXES[:4])}"
        )
    return [_recording(uri, uri[len(root) + 1 :]) for uri in uris]


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
