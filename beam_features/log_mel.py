"""Samples to log-mel frames: pure, NumPy in, NumPy out."""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy.fft
import scipy.signal

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.mel_filters import mel_filters

_FRAMES_PER_BLOCK = 2048  # bounds the memory of the spectra, and keeps them in the cache

Float32 = npt.NDArray[np.float32]


def log_mel(samples: Float32, spec: FeatureSpec) -> Float32:
    """Compute ``log(mel power + log_offset)`` of centred frames.

    Equals librosa.feature.melspectrogram with its default zero padding, Hann window and Slaney
    mel filters, followed by the logarithm, to 1e-4; see the tests.

    Args:
        samples: mono ``[n_samples]`` at ``spec.sample_rate_hz``, full scale 1.
        spec: the feature settings.

    Returns:
        ``[1 + n_samples // hop_length, n_mels]``, natural logarithm.
    """
    padded = np.pad(samples, spec.fft_length // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, spec.fft_length)
    frames = frames[:: spec.hop_length]  # [n_frames, fft_length], a view
    n_frames = len(frames)  # not from n_samples: an odd fft_length has one frame less at the end
    window, filters = _window(spec), _mel_filters(spec)
    mel = np.empty((n_frames, spec.n_mels), np.float32)
    for start in range(0, n_frames, _FRAMES_PER_BLOCK):
        block = slice(start, start + _FRAMES_PER_BLOCK)
        spectrum = scipy.fft.rfft(frames[block] * window)  # [block, 1 + fft_length // 2]
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel[block] = power.astype(np.float32) @ filters
    np.log(mel + np.float32(spec.log_offset), out=mel)
    return mel


@lru_cache(maxsize=4)
def _window(spec: FeatureSpec) -> npt.NDArray[np.float64]:
    """Periodic Hann window, zero-padded on both sides to ``[fft_length]``.

    In double precision, and with it the FFT: in single precision the rounding of a loud tone would
    be louder than quiet bins far from it.
    """
    window = scipy.signal.get_window("hann", spec.window_length, fftbins=True)
    left = (spec.fft_length - spec.window_length) // 2
    right = spec.fft_length - spec.window_length - left
    return np.pad(window, (left, right))


@lru_cache(maxsize=4)
def _mel_filters(spec: FeatureSpec) -> Float32:
    """Mel filters ``[1 + fft_length // 2, n_mels]``, computed once."""
    return mel_filters(spec)
