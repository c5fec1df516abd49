"""The mel filters held against librosa's, bit for bit."""

import librosa.filters
import numpy as np
import pytest

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.mel_filters import mel_filters
from tests.beam_features.schema.audio.test_log_mel import SPECS


@pytest.mark.parametrize("spec", [*SPECS.values(), FeatureSpec(n_mels=128)])
def test_equal_librosa(spec):
    reference = librosa.filters.mel(
        sr=spec.sample_rate_hz,
        n_fft=spec.fft_length,
        n_mels=spec.n_mels,
        fmin=spec.fmin_hz,
        fmax=spec.upper_hz,
    )
    filters = mel_filters(spec)
    assert filters.dtype == np.float32
    np.testing.assert_array_equal(filters, reference.T)


def test_triangles_have_area_one():
    """In Hz, where the bins are fine enough for a sum to be an integral."""
    filters = mel_filters(FeatureSpec(window_s=0.032, fft_length=4096))
    np.testing.assert_allclose(filters[:, 20:].sum(axis=0) * 16_000 / 4096, 1, atol=0.01)
