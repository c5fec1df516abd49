"""Streams of samples: channels, checks, resampling; results do not depend on the blocks."""

import numpy as np
import pytest
import soxr

from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.audio.signal import (
    Measured,
    checked,
    resampled,
    select_channels,
)
from beam_features.schema.feature_spec import FeatureSpec
from tests.beam_features.encoded import RATE_HZ, tone

SPEC = FeatureSpec()


def blocks_of(samples: np.ndarray, *cuts: int) -> list[np.ndarray]:
    """``[n]`` or ``[n, n_channels]`` as float32 blocks."""
    columns = samples.astype(np.float32).reshape(len(samples), -1)
    return np.split(columns, cuts)


def two_channels() -> np.ndarray:
    return np.stack([tone(), tone(frequency_hz=1000.0)], axis=1)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ("mean", two_channels().mean(axis=1, keepdims=True)),
        ("first", two_channels()[:, :1]),
        ("all", two_channels()),
    ],
)
def test_channels(channels, expected):
    spec = FeatureSpec(channels=channels)
    selected = np.concatenate(list(select_channels(blocks_of(two_channels(), 10_000), spec)))
    np.testing.assert_allclose(selected, expected, atol=1e-7)


def peak_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / RATE_HZ)[spectrum.argmax()])


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_length_frequency_and_level(rate_hz):
    blocks = blocks_of(tone(2.0, rate_hz, 1000.0), 5, 7_000, 7_001)
    samples = np.concatenate(list(resampled(blocks, rate_hz, SPEC)))[:, 0]
    assert samples.shape == (2 * RATE_HZ,)
    assert peak_hz(samples) == pytest.approx(1000.0, abs=0.5)  # the bins are 0.5 Hz wide
    inner = slice(RATE_HZ // 4, -RATE_HZ // 4)
    np.testing.assert_allclose(samples[inner], tone(2.0, RATE_HZ, 1000.0)[inner], atol=1e-3)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_blocks_equals_resampling_the_whole(rate_hz):
    samples = np.random.default_rng(0).normal(0, 0.1, (3 * rate_hz, 2)).astype(np.float32)
    whole = soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ")
    blocks = resampled(blocks_of(samples, 1, 2_000, 50_000), rate_hz, SPEC)
    np.testing.assert_array_equal(np.concatenate(list(blocks)), whole)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    """10 kHz would fold to 6 kHz; HQ is specified to about -100 dB."""
    (*blocks,) = resampled(blocks_of(tone(1.0, 44_100, 10_000.0)), 44_100, SPEC)
    assert np.abs(np.concatenate(blocks)[800:-800]).max() < 1e-4


def test_equal_rates_are_not_resampled():
    blocks = blocks_of(tone(), 100)
    assert [a is b for a, b in zip(resampled(blocks, RATE_HZ, SPEC), blocks, strict=True)] == [
        True
    ] * 2


def measure(
    samples: np.ndarray, *cuts: int, max_duration_s: float | None = None, spec: FeatureSpec = SPEC
) -> Measured:
    measured = Measured()
    blocks = blocks_of(samples, *cuts)
    passed = list(checked(blocks, RATE_HZ, max_duration_s))
    np.testing.assert_array_equal(np.concatenate(passed), np.concatenate(blocks))
    for _ in select_channels(passed, spec, measured):
        pass
    return measured


def test_measured():
    measured = measure(tone(), 10_000, 20_000)
    assert measured.frames == 2 * RATE_HZ
    assert (measured.low, measured.high) == (pytest.approx(-0.25), pytest.approx(0.25))
    assert not measured.is_constant


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_equal_samples_are_constant(value):
    assert measure(np.full(1000, value), 500).is_constant
    assert not measure(np.append(np.full(1000, value), value + 1e-3), 500).is_constant


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_are_rejected(value):
    samples = two_channels()
    samples[[24_000, 25_000], 1] = value
    with pytest.raises(RejectedRecording, match=r"not_finite: the sample at 1\.500 s is NaN"):
        measure(samples, 10_000, 20_000)


@pytest.mark.parametrize("value", [1e25, -1e25, 4.3e9, -3.4e38])
def test_samples_beyond_any_scale_are_rejected(value):
    samples = two_channels()
    samples[[24_000, 25_000], 1] = value
    detail = rf"out_of_range: the sample at 1\.500 s is {value:.3g}, beyond 2\^32, the scale of"
    with pytest.raises(RejectedRecording, match=detail.replace("+", r"\+")):
        measure(samples, 10_000, 20_000)


def test_samples_of_integer_scale_are_audio():
    samples = np.array([-(2.0**32), 2.0**31, 2.0**32])
    assert (measure(samples).low, measure(samples).high) == (-(2.0**32), 2.0**32)


def mixed(left: np.ndarray, right: np.ndarray) -> Measured:
    return measure(np.stack([left, right], axis=1), 10_000, 20_000)


@pytest.mark.parametrize(
    ("right", "cancelled"),
    [
        (-1.0, True),
        (-0.95, True),  # 20 log10(0.05 / 2 / sqrt((1 + 0.95**2) / 2)): 31.8 dB weaker
        (-0.82, True),  # 20.1 dB
        (-0.81, False),  # 19.6 dB
        (0.0, False),  # one dead channel: 3 dB
        (1.0, False),
    ],
)
def test_channels_that_cancel(right, cancelled):
    """Offsets, whether they are equal or opposite, change nothing."""
    for offset in (0.0, 0.3):
        assert mixed(tone() + offset, right * tone() + offset).is_cancelled == cancelled
        assert mixed(tone() + offset, right * tone() - offset).is_cancelled == cancelled


def test_silence_one_channel_and_unrelated_channels_do_not_cancel():
    assert not mixed(np.zeros(1000), np.zeros(1000)).is_cancelled
    assert not mixed(np.full(1000, 0.1), np.full(1000, -0.1)).is_cancelled
    assert not measure(tone()).is_cancelled
    assert not measure(np.random.default_rng(0).normal(0, 0.1, (9000, 64))).is_cancelled
    antiphase = np.stack([tone(), -tone()], axis=1)
    for channels in ("first", "all"):
        assert not measure(antiphase, spec=FeatureSpec(channels=channels)).is_cancelled


def test_what_is_constant_is_what_is_selected():
    """The mean of a signal and its negative is silence, the first channel is not."""
    samples = np.stack([tone(), -tone()], axis=1)
    assert measure(samples, 500).is_constant
    assert not measure(samples, 500, spec=FeatureSpec(channels="first")).is_constant
    assert not measure(samples, 500, spec=FeatureSpec(channels="all")).is_constant


def test_digest_depends_on_samples_rate_and_channels_not_on_blocks():
    digest = measure(two_channels()).samples_sha256(RATE_HZ)
    assert measure(two_channels(), 1, 20_000).samples_sha256(RATE_HZ) == digest
    assert measure(two_channels()).samples_sha256(8_000) != digest
    assert measure(two_channels().reshape(-1)).samples_sha256(RATE_HZ) != digest
    assert measure(two_channels()[:-1]).samples_sha256(RATE_HZ) != digest
    first = FeatureSpec(channels="first")
    assert measure(two_channels(), spec=first).samples_sha256(RATE_HZ) == digest


def test_no_samples_are_rejected():
    with pytest.raises(RejectedRecording, match="no_samples: the file holds a header and no"):
        list(checked([np.empty((0, 2), np.float32)], RATE_HZ))


def test_too_long_is_rejected_as_soon_as_it_is_known():
    assert measure(tone(), 10_000, max_duration_s=2.0).frames == 2 * RATE_HZ
    taken = []

    def endless():
        while True:
            taken.append(RATE_HZ)
            yield np.zeros((RATE_HZ, 1), np.float32)

    with pytest.raises(
        RejectedRecording, match="too_long: it lasts longer than --max-duration-s 5"
    ):
        list(checked(endless(), RATE_HZ, 5.0))
    assert sum(taken) == 6 * RATE_HZ
