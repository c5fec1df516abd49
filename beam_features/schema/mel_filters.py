"""Slaney's mel filters, which features and exported models share."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError

_HZ_PER_MEL = 200 / 3  # below the break, where the scale is linear
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27  # above the break: natural logarithm of the frequency per mel

Float64 = npt.NDArray[np.float64]


def mel_filters(spec: FeatureSpec) -> npt.NDArray[np.float32]:
    """Compute triangular filters of equal area, as in Slaney's Auditory Toolbox.

    Equals librosa.filters.mel with its defaults, transposed, bit for bit; see the tests.

    Returns:
        ``[1 + fft_length // 2, n_mels]``; power spectra times this matrix are mel power.
    """
    corners_hz = _corners_hz(spec)
    bins_hz = np.fft.rfftfreq(spec.fft_length, 1 / spec.sample_rate_hz)
    slopes = np.subtract.outer(corners_hz, bins_hz)  # [n_mels + 2, n_bins]
    widths_hz = np.diff(corners_hz)[:, None]
    rising = -slopes[:-2] / widths_hz[:-1]
    falling = slopes[2:] / widths_hz[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    heights = 2 / (corners_hz[2:] - corners_hz[:-2])
    return np.ascontiguousarray((triangles * heights[:, None]).T, np.float32)


def check_no_filter_is_empty(spec: FeatureSpec) -> None:
    """Refuse settings with mel bins that are the same constant in every tile.

    The filters of low mel bins are narrow; one that lies between two frequencies of the Fourier
    transform is empty. Settings of features that exist are not checked: they can be read.

    Raises:
        InputError: there are such bins; it names the settings that fit.
    """
    if not (n_empty := _n_empty(spec)):
        return
    fewer = range(min(spec.n_mels - 1, spec.fft_length), 0, -1)  # a frequency is in two filters
    fits = next((n for n in fewer if not _n_empty(replace(spec, n_mels=n))), None)
    longer = (spec.fft_length << power for power in range(1, 64))
    length = next(n for n in longer if not _n_empty(replace(spec, fft_length=n)))
    other = f"set n_mels to {fits}" if fits else "widen fmin_hz to fmax_hz"
    raise InputError(
        f"{n_empty} of n_mels={spec.n_mels} mel filters are empty: fft_length={spec.fft_length} "
        f"is too coarse for them; {other}, or set fft_length to {length}"
    )


def _n_empty(spec: FeatureSpec) -> int:
    """Number of filters without a frequency of the Fourier transform between their corners."""
    corners_hz = _corners_hz(spec)
    step_hz = spec.sample_rate_hz / spec.fft_length
    next_hz = (np.floor(corners_hz[:-2] / step_hz) + 1) * step_hz
    return int((next_hz >= corners_hz[2:]).sum())


def _corners_hz(spec: FeatureSpec) -> Float64:
    """Where filter i begins, has its peak and ends: ``[n_mels + 2]``, at i, i + 1 and i + 2."""
    lowest, highest = _hz_to_mel(np.array([spec.fmin_hz, spec.upper_hz]))
    return _mel_to_hz(np.linspace(lowest, highest, spec.n_mels + 2))


def _hz_to_mel(hz: Float64) -> Float64:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    mel: Float64 = np.where(hz >= _BREAK_HZ, above, hz / _HZ_PER_MEL)
    return mel


def _mel_to_hz(mel: Float64) -> Float64:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    hz: Float64 = np.where(mel >= _BREAK_MEL, above, mel * _HZ_PER_MEL)
    return hz
