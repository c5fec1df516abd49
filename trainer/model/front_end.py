"""The feature job's log-mel inside a TensorFlow graph, for models that take waveforms.

Steps and precision are those of `beam_features.schema.audio.log_mel`: double precision up to the
mel power, so that GPUs do not round the sums to TF32, and finally the rounding of the records.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.mel_filters import mel_filters
from beam_features.schema.strip import LOG_MEL_DTYPE

PowerSpectrum = Callable[[tf.Tensor], tf.Tensor]
"""From windowed frames ``[n_frames, fft_length]`` to ``[n_frames, 1 + fft_length // 2]``."""


def fft_power(frames: tf.Tensor) -> tf.Tensor:
    """Power spectrum by a fast Fourier transform."""
    spectrum = tf.signal.rfft(frames)
    return tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))


def dft_power(frames: tf.Tensor) -> tf.Tensor:
    """Power spectrum by two matrix products, where there is no FFT, as in ONNX."""
    length = frames.shape[1]
    turns = np.outer(np.arange(length), np.arange(1 + length // 2)) % length / length
    real, imaginary = frames @ np.cos(2 * np.pi * turns), frames @ np.sin(2 * np.pi * turns)
    return tf.square(real) + tf.square(imaginary)


def frame_count(n_samples: tf.Tensor, spec: FeatureSpec) -> tf.Tensor:
    """How many centred frames a waveform of at least one tile has: scalar int32."""
    margins = 2 * (spec.fft_length // 2)
    n_samples = tf.maximum(n_samples, spec.tile_frames * spec.hop_length)
    return 1 + (n_samples + margins - spec.fft_length) // spec.hop_length


def samples_of_frames(n_frames: tf.Tensor | int, spec: FeatureSpec) -> tf.Tensor | int:
    """How many samples that many overlapping frames span."""
    return (n_frames - 1) * spec.hop_length + spec.fft_length


def log_mel(
    samples: tf.Tensor, spec: FeatureSpec, power_spectrum: PowerSpectrum = fft_power
) -> tf.Tensor:
    """Compute the log-mel of every whole frame, as a record stores it.

    Args:
        samples: float32 ``[n_samples]``; frame ``k`` begins at sample ``k * hop_length``, so that a
            waveform needs ``fft_length // 2`` zeros in front of it for its frames to be centred.
        spec: the feature settings.
        power_spectrum: `fft_power` or `dft_power`.

    Returns:
        float32 ``[n_frames, n_mels]``, rounded to the type of the records.
    """
    frames = tf.signal.frame(samples, spec.fft_length, spec.hop_length)
    power = power_spectrum(tf.cast(frames, tf.float64) * _window(spec))
    mel = tf.cast(power @ mel_filters(spec).astype(np.float64), tf.float32)
    log_mel = tf.math.log(mel + np.float32(spec.log_offset))
    return tf.cast(tf.cast(log_mel, tf.as_dtype(LOG_MEL_DTYPE)), tf.float32)


def _window(spec: FeatureSpec) -> np.ndarray:
    """Periodic Hann window, zero-padded on both sides to ``[fft_length]``."""
    phase = 2 * np.pi * np.arange(spec.window_length) / spec.window_length
    left = (spec.fft_length - spec.window_length) // 2
    right = spec.fft_length - spec.window_length - left
    return np.pad(0.5 - 0.5 * np.cos(phase), (left, right))
