"""The mel filters held against librosa's, bit for bit."""

import librosa.filters
import numpy as np
import pytest

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.mel_filters import check_no_filter_is_empty, mel_filters
from dem.errors import InputError
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


def n_empty(spec: FeatureSpec) -> int:
    return int((mel_filters(spec).max(axis=0) == 0).sum())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "24 of n_mels=256 .* fft_length=512 .* set n_mels to 189, or set fft_length to 1024"),
        ({"fmin_hz": 0}, "24 of n_mels=256 .* set n_mels to 192, or set fft_length to 1024"),
        ({"fmax_hz": 4000}, "58 of n_mels=256 .* set n_mels to 146, or set fft_length to 1024"),
        (
            {"fmax_hz": 55},
            "256 of n_mels=256 .* widen fmin_hz to fmax_hz, or set fft_length to 524288",
        ),
    ],
)
def test_empty_filters_are_refused_with_the_nearest_settings_that_fit(settings, message):
    spec = FeatureSpec(n_mels=256, **settings)
    with pytest.raises(InputError, match=message) as error:
        check_no_filter_is_empty(spec)
    assert str(error.value).startswith(f"{n_empty(spec)} of ")
    check_no_filter_is_empty(FeatureSpec(n_mels=64))


@pytest.mark.parametrize("fft_length", [400, 512, 1000])
@pytest.mark.parametrize("fmin_hz", [0.0, 31.25, 50.0, 333.3])
def test_what_is_refused_is_what_is_empty(fft_length, fmin_hz):
    """31.25 Hz is a frequency of the transform: at a corner, where the filter is zero."""
    for n_mels in range(1, 300, 7):
        spec = FeatureSpec(n_mels=n_mels, fft_length=fft_length, fmin_hz=fmin_hz)
        try:
            check_no_filter_is_empty(spec)
        except InputError:
            assert n_empty(spec) > 0
        else:
            assert n_empty(spec) == 0
