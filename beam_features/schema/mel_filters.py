"""Slaney's mel filters, which features and exported models share."""

import numpy as np
import numpy.typing as npt

from beam_features.schema.feature_spec import FeatureSpec

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
    lowest, highest = _hz_to_mel(np.array([spec.fmin_hz, spec.upper_hz]))
    corners_hz = _mel_to_hz(np.linspace(lowest, highest, spec.n_mels + 2))
    bins_hz = np.fft.rfftfreq(spec.fft_length, 1 / spec.sample_rate_hz)
    slopes = np.subtract.outer(corners_hz, bins_hz)  # [n_mels + 2, n_bins]
    widths_hz = np.diff(corners_hz)[:, None]
    rising = -slopes[:-2] / widths_hz[:-1]
    falling = slopes[2:] / widths_hz[1:]
    triangles = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    heights = 2 / (corners_hz[2:] - corners_hz[:-2])
    return np.ascontiguousarray((triangles * heights[:, None]).T, np.float32)


def _hz_to_mel(hz: Float64) -> Float64:
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    mel: Float64 = np.where(hz >= _BREAK_HZ, above, hz / _HZ_PER_MEL)
    return mel


def _mel_to_hz(mel: Float64) -> Float64:
    above = _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL))
    hz: Float64 = np.where(mel >= _BREAK_MEL, above, mel * _HZ_PER_MEL)
    return hz
