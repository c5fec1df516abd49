"""Derived numbers, the fingerprint and the refusals of `FeatureSpec`."""

import dataclasses

import pytest

from beam_features.schema.feature_spec import FeatureSpec, dump_feature_spec, parse_feature_spec
from dem.errors import InputError
from dem.settings import build_settings

CHANGED = {
    "sample_rate_hz": 8_000,
    "channels": "first",
    "window_s": 0.020,
    "hop_s": 0.020,
    "fft_length": 1024,
    "n_mels": 80,
    "fmin_hz": 0.0,
    "fmax_hz": 7600.0,
    "log_offset": 1e-5,
    "tile_s": 0.5,
}


def test_derived_numbers_at_defaults():
    spec = FeatureSpec()
    assert spec.window_length == 400  # 25 ms at 16 kHz
    assert spec.hop_length == 160  # 10 ms
    assert spec.tile_frames == 100  # 1 s in hops
    assert spec.upper_hz == 8000.0  # Nyquist
    assert spec.tile_shape == (100, 64)


def test_derived_numbers_where_binary_fractions_are_inexact():
    """0.57 / 0.01 is 56.99999999999999."""
    spec = FeatureSpec(sample_rate_hz=44_100, window_s=0.02, tile_s=0.57, fft_length=1024)
    assert (spec.window_length, spec.hop_length, spec.tile_frames) == (882, 441, 57)


def test_upper_end_of_the_mel_range_is_fmax():
    assert FeatureSpec(fmax_hz=7600.0).upper_hz == 7600.0


def test_fingerprint_of_the_defaults_is_pinned():
    """A change here makes every features directory out there unreadable: raise SCHEMA_VERSION."""
    assert (
        FeatureSpec().fingerprint
        == "07e71049a27945130bf7f730807fa8e79f2a8a93fbecccf7c4614c927f42e5e1"
    )


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(FeatureSpec)])
def test_fingerprint_changes_with_each_field(name):
    changed = dataclasses.replace(FeatureSpec(), **{name: CHANGED[name]})
    assert changed.fingerprint != FeatureSpec().fingerprint


def test_fingerprint_does_not_depend_on_how_a_number_was_spelled():
    assert build_settings(FeatureSpec, {"tile_s": 1, "fmin_hz": "50"}) == FeatureSpec()
    assert FeatureSpec(tile_s=1, fmin_hz=50).fingerprint == FeatureSpec().fingerprint


def test_spec_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FeatureSpec().n_mels = 80


NOT_FLOAT32 = "is zero or infinite in the float32 of log-mel; choose 1e-37 to 1e37"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"hop_s": 0.01001},
            "hop_s=0.01001 at 16000 Hz is 160.16 samples; choose a whole number of them",
        ),
        (
            {"window_s": 0.02501},
            "window_s=0.02501 at 16000 Hz is 400.16 samples; choose a whole number of them",
        ),
        (
            {"hop_s": 1e-12},
            "hop_s=1e-12 at 16000 Hz is 1.6e-08 samples; choose a whole number of them",
        ),
        (
            {"tile_s": 1.005},
            "tile_s=1.005 is 100.5 hops of 0.01 s; choose a whole number of them",
        ),
        (
            {"fft_length": 256},
            "fft_length=256 is shorter than the window of 400 samples; "
            "raise fft_length or lower window_s",
        ),
        (
            {"fmin_hz": 8000},
            "mel range 8000.0 to 8000.0 Hz must rise and end at or below Nyquist, 8000.0 Hz; "
            "change fmin_hz or fmax_hz",
        ),
        (
            {"fmax_hz": 9000},
            "mel range 50.0 to 9000.0 Hz must rise and end at or below Nyquist, 8000.0 Hz; "
            "change fmin_hz or fmax_hz",
        ),
        ({"sample_rate_hz": 0}, "sample_rate_hz: Input should be greater than 0, not 0"),
        ({"window_s": 0}, "window_s: Input should be greater than 0, not 0"),
        ({"hop_s": -0.01}, "hop_s: Input should be greater than 0, not -0.01"),
        ({"fft_length": 0}, "fft_length: Input should be greater than 0, not 0"),
        ({"n_mels": 0}, "n_mels: Input should be greater than 0, not 0"),
        ({"fmin_hz": -1}, "fmin_hz: Input should be greater than or equal to 0, not -1"),
        ({"log_offset": 0}, "log_offset: Input should be greater than 0, not 0"),
        ({"log_offset": 1e-46}, f"log_offset=1e-46 {NOT_FLOAT32}"),
        ({"log_offset": 1e39}, f"log_offset=1e+39 {NOT_FLOAT32}"),
        ({"tile_s": 0}, "tile_s: Input should be greater than 0, not 0"),
        ({"tile_s": float("inf")}, "tile_s: Input should be a finite number, not inf"),
        ({"hop_s": float("nan")}, "hop_s: Input should be a finite number, not nan"),
        ({"channels": "left"}, "channels: Input should be 'mean', 'first' or 'all', not 'left'"),
    ],
)
def test_refusals_name_the_value(values, message):
    with pytest.raises(InputError) as refusal:
        build_settings(FeatureSpec, values)
    assert str(refusal.value) == message


def test_a_spec_survives_its_file():
    spec = FeatureSpec(n_mels=20, fmax_hz=3800.0)
    assert parse_feature_spec(dump_feature_spec(spec), "model") == spec


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"feature_spec": {"n_mels": -1}}'])
def test_what_is_no_spec_is_refused(text):
    with pytest.raises(InputError, match=r"^job/x is not the feature_spec\.json of an exported"):
        parse_feature_spec(text, "job/x")


def test_an_edited_spec_is_refused():
    edited = dump_feature_spec(FeatureSpec()).replace('"n_mels": 64', '"n_mels": 65')
    with pytest.raises(InputError, match=r"fingerprint [0-9a-f]{12} does not match its"):
        parse_feature_spec(edited, "model")
