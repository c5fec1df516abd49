"""Log-mel by librosa, the reference for our own."""

import librosa
import numpy as np

from beam_features.schema.feature_spec import FeatureSpec


def librosa_log_mel(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    """Compute ``[n_frames, n_mels]`` with librosa."""
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=spec.sample_rate_hz,
        n_fft=spec.fft_length,
        win_length=spec.window_length,
        hop_length=spec.hop_length,
        n_mels=spec.n_mels,
        fmin=spec.fmin_hz,
        fmax=spec.upper_hz,
    )
    return np.log(mel + spec.log_offset).T
