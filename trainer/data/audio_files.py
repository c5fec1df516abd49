"""Audio files to embed or to label: found and decoded as the feature job does it."""

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from beam_features.schema.audio.decode import decode
from beam_features.schema.audio.files import AUDIO_SUFFIXES, RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec
from dem import storage
from dem.access import is_remote
from dem.errors import InputError


class UnreadableRecording(Exception):  # noqa: N818 - an outcome that is counted, not a failure
    """A recording that cannot be embedded, and why."""


def read_waveform(uri: str, spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Decode a recording as the feature job does: mono ``[samples]`` at ``spec.sample_rate_hz``.

    A model trained on separate channels gets their mean.

    Raises:
        UnreadableRecording: it cannot be read, is empty, not audio, truncated or not finite.
    """
    one = replace(spec, channels="mean") if spec.channels == "all" else spec
    return read_channels(uri, one).squeeze(axis=0)


def read_channels(uri: str, spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Decode the channels that the feature job makes tiles of: ``[n_channels, samples]``.

    Raises:
        UnreadableRecording: see `read_waveform`.
    """
    try:
        with _open(uri) as file:
            return np.ascontiguousarray(decode(file, spec).T)
    except RejectedRecording as rejected:
        raise UnreadableRecording(f"{rejected.reason}: {rejected.detail}") from rejected
    except OSError as error:
        raise UnreadableRecording(f"unreadable: {error.strerror or error}") from error


def find_recordings(inputs: Sequence[str], argument: str = "--input") -> dict[str, str]:
    """Find audio files: URI by name.

    Files below a single directory are named relative to it, as ``--dataset folder`` does.

    Args:
        inputs: URIs of files, or of directories whose files with an audio suffix are taken, except
            for hidden ones.
        argument: name of the command-line argument, for messages.

    Raises:
        InputError: an input does not exist, or there is no audio file in a directory.
    """
    recordings: dict[str, str] = {}
    for uri in inputs:
        if not storage.exists(uri):
            raise InputError(f"{uri!r} does not exist; check {argument}")
        if not storage.is_directory(uri):
            recordings[uri] = uri
            continue
        root = uri.rstrip("/")
        names = [name for name in storage.list_files(root) if _is_audio(name[len(root) + 1 :])]
        if not names:
            raise InputError(
                f"no audio files below {root!r}; {argument} takes files, or directories with files "
                f"such as {', '.join(AUDIO_SUFFIXES[:4])}"
            )
        start = len(root) + 1 if len(inputs) == 1 else 0
        recordings |= {name[start:]: name for name in names}
    return recordings


def _is_audio(name: str) -> bool:
    hidden = any(part.startswith(".") for part in name.split("/"))
    return name.lower().endswith(AUDIO_SUFFIXES) and not hidden


def _open(uri: str) -> BinaryIO:
    """Open for reading and seeking; remote files are fetched first, since decoders seek a lot."""
    return io.BytesIO(storage.read_bytes(uri)) if is_remote(uri) else open(uri, "rb")
