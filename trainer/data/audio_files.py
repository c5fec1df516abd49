"""Audio files to embed or to label: found, decoded and cut into tiles as in the feature job."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from beam_features.schema.audio.decode import (
    Decoder,
    by_any_decoder,
    open_recording,
    samples_of,
)
from beam_features.schema.audio.files import AUDIO_SUFFIXES, Float32
from beam_features.schema.audio.log_mel import tiles_of
from beam_features.schema.audio.signal import Measured
from beam_features.schema.audio.tree import audio_below, has_text_name
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.silence import is_audible
from beam_features.schema.strip import LOG_MEL_DTYPE
from dem import storage
from dem.errors import InputError
from trainer.data.overlap import shifts

_TILES_PER_BATCH = 64  # bounds the memory of an encoder's activations

T = TypeVar("T")
Float16 = npt.NDArray[np.float16]
Represent = Callable[[Float16], Float32]
"""From tiles ``[n, tile_frames, n_mels]`` to vectors ``[n, size]``."""


@dataclass(frozen=True)
class RecordingVectors:
    """What a model makes of a recording.

    Attributes:
        vectors: of its tiles ``[n_channels, n_tiles, size]``.
        audible: ``[n_channels, n_tiles]``; false: digital silence.
        seconds: of audio.
        samples_sha256: digest of the decoded samples.
    """

    vectors: Float32
    audible: npt.NDArray[np.bool_]
    seconds: float
    samples_sha256: str


def represent_recording(
    uri: str, spec: FeatureSpec, represent: Represent, overlap: int = 1
) -> RecordingVectors:
    """Decode a recording and represent its tiles, in memory that does not grow with its length.

    The tiles are those of the feature job, rounded as its records are. With `overlap`, those of the
    further grids of `trainer.data.overlap.shifts` are among them, in no order to rely on.

    Raises:
        RejectedRecording: it cannot be used, for the reason that the feature job gives.
    """
    offsets = shifts(spec.tile_frames, overlap)[1:]

    def read(decoder: Decoder) -> Iterator[RecordingVectors]:
        measured = Measured()
        with open_recording(uri, decoder) as (sound, _):
            blocks = tiles_of(samples_of(sound, spec, None, measured), spec)
            tiles = _with_between(_batches(blocks, _TILES_PER_BATCH), offsets)
            with closing(_ahead(tiles)) as batches:
                represented = [_represent_channels(batch, spec, represent) for batch in batches]
            vectors, audible = (
                np.concatenate(parts, axis=1) for parts in zip(*represented, strict=True)
            )
            rate_hz = sound.sample_rate_hz
            seconds, digest = measured.frames / rate_hz, measured.samples_sha256(rate_hz)
            yield RecordingVectors(vectors, audible, seconds, digest)

    (recording,) = by_any_decoder(read)
    return recording


def _batches(blocks: Iterable[Float32], n_tiles: int) -> Iterator[Float16]:
    """Round blocks ``[n_channels, n, …]`` as records do and regroup them to `n_tiles` tiles."""
    held: list[Float16] = []
    for block in blocks:
        for start in range(0, block.shape[1], n_tiles):
            held.append(block[:, start : start + n_tiles].astype(LOG_MEL_DTYPE))
            if sum(tiles.shape[1] for tiles in held) >= n_tiles:
                yield np.concatenate(held, axis=1)
                held = []
    if held:
        yield np.concatenate(held, axis=1)


def _with_between(batches: Iterable[Float16], offsets: Sequence[int]) -> Iterator[Float16]:
    """Add the tiles that begin some frames after those of the grid ``[n_channels, n, …]``."""
    last = None
    for tiles in batches:
        grid = tiles if last is None else np.concatenate([last, tiles], axis=1)
        between = [
            np.concatenate([grid[:, :-1, shift:], grid[:, 1:, :shift]], axis=2) for shift in offsets
        ]
        yield np.concatenate([tiles, *between], axis=1)
        last = tiles[:, -1:]


def _ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """Compute the next item in another thread while the last one is used."""
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _represent_channels(
    tiles: Float16, spec: FeatureSpec, represent: Represent
) -> tuple[Float32, npt.NDArray[np.bool_]]:
    """Vectors ``[n_channels, n, size]`` of tiles ``[n_channels, n, …]``, and which are audible."""
    vectors = represent(tiles.reshape(-1, *spec.tile_shape))
    return vectors.reshape(*tiles.shape[:2], -1), is_audible(tiles, spec)


@dataclass(frozen=True)
class AudioInput:
    """Audio files that a user named, or those below directories.

    Attributes:
        recordings: URI by name, in order.
        skipped: reason and detail by URI of what looks like audio and is not used.
        left_out: a line for each directory with files of other suffixes.
    """

    recordings: Mapping[str, str]
    skipped: Mapping[str, tuple[str, str]]
    left_out: Sequence[str]


def find_recordings(inputs: Sequence[str], argument: str = "--input") -> AudioInput:
    """Find audio files; in directories the same ones as ``--dataset folder``.

    Files below a single directory are named relative to it, as there.

    Args:
        inputs: URIs of files or directories.
        argument: name of the command-line argument, for messages.

    Raises:
        InputError: an input does not exist, or there is no audio file in a directory.
    """
    recordings: dict[str, str] = {}
    skipped: dict[str, tuple[str, str]] = {}
    left_out = []
    for uri in inputs:
        _check_input(uri, argument)
        if not storage.is_directory(uri):
            recordings[uri] = uri
            continue
        root = uri.rstrip("/")
        tree = audio_below(root)
        if not tree.uris:
            raise InputError(
                f"no audio files below {root!r}{tree.unused}; {argument} takes files, or "
                f"directories with files such as {', '.join(AUDIO_SUFFIXES[:4])}"
            )
        start = len(root) + 1 if len(inputs) == 1 else 0
        recordings |= {found[start:]: found for found in tree.uris}
        skipped |= tree.skipped
        left_out += [f"{uri}: {tree.left_out}"] if tree.left_out else []
    return AudioInput(recordings, skipped, left_out)


def _check_input(uri: str, argument: str) -> None:
    if not storage.exists(uri):
        raise InputError(f"{uri!r} does not exist; check {argument}")
    if not has_text_name(uri):
        raise InputError(f"the name {uri!r} is not UTF-8; rename the file")
