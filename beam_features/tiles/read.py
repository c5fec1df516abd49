"""Read one recording: from its URI to tiles, or to the reason why it is rejected."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np

from beam_features.datasets import sample
from beam_features.schema.audio.decode import (
    Decoder,
    by_any_decoder,
    open_recording,
    samples_of,
)
from beam_features.schema.audio.files import Audio, Float32, RejectedRecording
from beam_features.schema.audio.log_mel import tiles_of
from beam_features.schema.audio.signal import Measured, checked
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.silence import is_audible
from dem.errors import JobError

_HELD_BYTES = 64 << 20  # of tiles: 43 minutes of mono with the default settings


@dataclass(frozen=True)
class ReadSettings:
    """What determines the tiles of a recording, besides the recording."""

    spec: FeatureSpec
    max_duration_s: float | None = None  # recordings that last longer are rejected


@dataclass
class Heard:
    """What is in a recording; filled in once it has been read to its end."""

    seconds: float = 0.0
    bytes_read: int = 0
    cancelled: bool = False  # the mean of the channels is weaker by 20 dB or more than they are
    audible_share: float = 0.0  # of its tiles; 0 if all samples are equal
    samples_sha256: str = ""


def read_tiles(uri: str, settings: ReadSettings, heard: Heard) -> Iterator[Float32]:
    """Decode, resample and cut a recording, in memory that does not grow with its length.

    Args:
        uri: of the recording.
        settings: of the features.
        heard: filled in once the recording has been read to its end.

    Yields:
        Blocks ``[n_channels, n_tiles, tile_frames, n_mels]``.

    Raises:
        RejectedRecording: it cannot be used; always raised before the first block.
        JobError: it changed while it was read.
    """
    spec = settings.spec

    def read(decoder: Decoder) -> Iterator[Float32]:
        measured = Measured()
        n_tiles = n_audible = 0
        with _open(uri, decoder) as (sound, n_bytes):
            samples = samples_of(sound, spec, settings.max_duration_s, measured)
            for tiles in hold(tiles_of(samples, spec), partial(read_through, decoder), uri):
                audible = is_audible(tiles, spec)
                n_tiles, n_audible = n_tiles + audible.size, n_audible + int(audible.sum())
                yield tiles
            heard.seconds = measured.frames / sound.sample_rate_hz
            heard.bytes_read = n_bytes
            heard.cancelled = measured.is_cancelled
            heard.audible_share = 0.0 if measured.is_constant else n_audible / n_tiles
            heard.samples_sha256 = measured.samples_sha256(sound.sample_rate_hz)

    def read_through(decoder: Decoder) -> None:
        with _open(uri, decoder) as (sound, _):
            for _ in checked(sound.blocks, sound.sample_rate_hz, settings.max_duration_s):
                pass

    yield from by_any_decoder(read)


def hold(
    blocks: Iterable[Float32],
    read_through: Callable[[], None],
    uri: str,
    held_bytes: int = _HELD_BYTES,
) -> Iterator[Float32]:
    """Hold tiles back until their recording is known to be valid to its end.

    Tiles cannot be removed from a shard, and corruption may show only at the very end. A recording
    that is too long to be held is checked with `read_through` instead.

    Raises:
        RejectedRecording: from `blocks` or `read_through`; always before the first block.
        JobError: `blocks` fail where `read_through` did not.
    """
    blocks = iter(blocks)
    held: list[Float32] = []
    n_bytes = 0
    for block in blocks:
        held.append(block)
        n_bytes += block.nbytes
        if n_bytes > held_bytes:
            read_through()
            break
    while held:
        yield held.pop(0)
    try:
        yield from blocks
    except RejectedRecording as rejection:
        raise JobError(f"{uri} changed while it was read ({rejection}); run again") from rejection


@contextmanager
def _open(uri: str, decoder: Decoder) -> Iterator[tuple[Audio, int]]:
    """Open a recording; yield it and its size in bytes."""
    if sample.is_sample(uri):
        samples = sample.synthesise(uri)[:, np.newaxis]
        yield Audio(sample.SAMPLE_RATE_HZ, iter([samples])), 0
        return
    with open_recording(uri, decoder) as opened:
        yield opened
