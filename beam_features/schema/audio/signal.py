"""Checks, channel selection and resampling of a recording's samples: pure, blocks in, blocks out.

A block is float32 ``[n, n_channels]``, full scale 1. Recordings are streams of blocks, so that an
hour takes no more memory than a minute.
"""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from beam_features.schema.audio.files import Float32, RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec


@dataclass
class Measured:
    """Length and range of a recording, filled in by `checked`."""

    frames: int = 0
    low: float = np.inf
    high: float = -np.inf

    @property
    def is_constant(self) -> bool:
        """Whether all samples are equal: digital silence, or a dead microphone."""
        return self.low == self.high


def select_channels(blocks: Iterable[Float32], spec: FeatureSpec) -> Iterator[Float32]:
    """Yield the mean of the channels, the first channel, or all of them."""
    for block in blocks:
        if spec.channels == "mean":
            yield block.mean(axis=1, keepdims=True)
        else:
            yield block[:, :1] if spec.channels == "first" else block


def checked(
    blocks: Iterable[Float32], rate_hz: int, max_duration_s: float | None, measured: Measured
) -> Iterator[Float32]:
    """Yield the blocks unchanged and record their length and range in `measured`.

    Raises:
        RejectedRecording: there are no samples, one is NaN or infinite, or they last longer than
            `max_duration_s`.
    """
    for block in blocks:
        low, high = float(block.min()), float(block.max())
        if not np.isfinite([low, high]).all():  # min and max of NaN are NaN
            frame = measured.frames + int(np.flatnonzero(~np.isfinite(block).all(axis=1))[0])
            detail = f"the sample at {frame / rate_hz:.3f} s is NaN or infinite"
            raise RejectedRecording("decode", "not_finite", detail)
        measured.frames += len(block)
        measured.low, measured.high = min(measured.low, low), max(measured.high, high)
        if max_duration_s is not None and measured.frames > max_duration_s * rate_hz:
            detail = f"it lasts longer than --max-duration-s {max_duration_s:g}"
            raise RejectedRecording("decode", "too_long", detail)
        yield block
    if not measured.frames:
        raise RejectedRecording("decode", "no_samples", "the file holds a header and no samples")


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
