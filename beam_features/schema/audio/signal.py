"""Checks, channel selection and resampling of a recording's samples: pure, blocks in, blocks out.

A block is float32 ``[n, n_channels]``, full scale 1. Recordings are streams of blocks, so that an
hour takes no more memory than a minute.
"""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import soxr

from beam_features.schema.audio.files import Float32, RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec

LOUDEST = 2.0**32
"""Largest magnitude of a sample: files of float samples may have the scale of 32-bit integers."""
_ZERO = np.float32(0)  # added to -0.0 it gives 0.0, as integers have it
_FAINTEST = 1e-10  # power; -100 dB of full scale, below what 16 bits hold
_CANCELLED = 0.01  # -20 dB: energy of the mean of the channels to the mean of their energies


@dataclass
class Measured:
    """What the samples of a recording are, filled in block by block by `select_channels`."""

    frames: int = 0
    n_channels: int = 0
    low: float = np.inf  # of the selected channels
    high: float = -np.inf
    energy_of_channels: float = 0.0  # mean over the channels; without their offset
    energy_of_mean: float = 0.0
    _digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def add(self, block: Float32, selected: Float32) -> None:
        """Count a block and what is selected of it, both ``[n, n_channels]``."""
        self.frames += len(block)
        self.n_channels = block.shape[1]
        self.low = min(self.low, float(selected.min()))
        self.high = max(self.high, float(selected.max()))
        self._digest.update((block + _ZERO).astype("<f4", "C", copy=False).data)

    def add_mix(self, channels: Float32, mean: Float32) -> None:
        """Count the energies of channels ``[n_channels, n]`` and of their mean ``[n]``."""
        self.energy_of_channels += len(mean) * float(channels.var(axis=1).mean())
        self.energy_of_mean += len(mean) * float(mean.var())

    @property
    def is_constant(self) -> bool:
        """Whether all selected samples are equal: digital silence, or a dead microphone."""
        return self.low == self.high

    @property
    def is_cancelled(self) -> bool:
        """Whether there is sound in the channels, and their mean is weaker by 20 dB or more.

        That of n unrelated channels of equal power is weaker by 10 log10(n) dB, of two by 3 dB.
        """
        sound = self.energy_of_channels > _FAINTEST * self.frames
        return sound and self.energy_of_mean < _CANCELLED * self.energy_of_channels

    def samples_sha256(self, sample_rate_hz: int) -> str:
        """Digest of rate, channels and samples.

        Samples are compared as float32, which holds integers of up to 24 bits exactly: WAV and FLAC
        of the same samples have the same digest.
        """
        content = f"{sample_rate_hz} Hz, {self.n_channels} channels, {self._digest.hexdigest()}"
        return hashlib.sha256(content.encode()).hexdigest()


def select_channels(
    blocks: Iterable[Float32], spec: FeatureSpec, measured: Measured | None = None
) -> Iterator[Float32]:
    """Yield the mean of the channels, the first channel, or all; record them in `measured`."""
    for block in blocks:
        if spec.channels == "mean" and block.shape[1] > 1:
            channels = np.ascontiguousarray(block.T)  # without it the mean takes 5 times as long
            mean = channels.mean(axis=0)
            if measured:
                measured.add_mix(channels, mean)
            selected = mean[:, np.newaxis]
        else:
            selected = block if spec.channels == "all" else block[:, :1]
        if measured:
            measured.add(block, selected)
        yield selected


def checked(
    blocks: Iterable[Float32], rate_hz: int, max_duration_s: float | None = None
) -> Iterator[Float32]:
    """Yield the blocks unchanged, as long as they can be audio.

    Raises:
        RejectedRecording: there are no samples, one is NaN, infinite or beyond `LOUDEST`, or they
            last longer than `max_duration_s`.
    """
    frames = 0
    for block in filter(len, blocks):
        if not max(-float(block.min()), float(block.max())) <= LOUDEST:  # NaN if any sample is
            raise _no_audio(block, frames, rate_hz)
        frames += len(block)
        if max_duration_s is not None and frames > max_duration_s * rate_hz:
            detail = f"it lasts longer than --max-duration-s {max_duration_s:g}"
            raise RejectedRecording("decode", "too_long", detail)
        yield block
    if not frames:
        raise RejectedRecording("decode", "no_samples", "the file holds a header and no samples")


def _no_audio(block: Float32, frames_before: int, rate_hz: int) -> RejectedRecording:
    """Name the first sample of a block that is no number or too large."""
    frame, channel = np.argwhere(~(np.abs(block) <= LOUDEST))[0]
    value, time_s = block[frame, channel], (frames_before + frame) / rate_hz
    if not np.isfinite(value):
        detail = f"the sample at {time_s:.3f} s is NaN or infinite"
        return RejectedRecording("decode", "not_finite", detail)
    detail = (
        f"the sample at {time_s:.3f} s is {value:.3g}, beyond 2^32, the scale of 32-bit integers; "
        "repair the file, or save it as 16-bit PCM, which limits the samples"
    )
    return RejectedRecording("decode", "out_of_range", detail)


def resampled(blocks: Iterable[Float32], rate_hz: int, spec: FeatureSpec) -> Iterator[Float32]:
    """Resample blocks to ``spec.sample_rate_hz``; equals soxr's HQ on the whole recording."""
    blocks = iter(blocks)
    first = next(blocks, None)
    if first is None:
        return
    blocks = itertools.chain([first], blocks)
    if rate_hz == spec.sample_rate_hz:
        yield from blocks
        return
    n_channels = first.shape[1]
    stream = soxr.ResampleStream(rate_hz, spec.sample_rate_hz, n_channels, "float32", "HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty((0, n_channels), np.float32), last=True)
