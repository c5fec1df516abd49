"""Decoding of real encoded files, and the reason given for each that is damaged."""

import io

import numpy as np
import pytest
import soundfile

from beam_features.audio import decode_audio, resample
from beam_features.recording import RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec

SPEC = FeatureSpec()
RATE_HZ = SPEC.sample_rate_hz
FORMATS = {  # how far a decoded sample may lie from the original
    ("WAV", "PCM_16"): 2**-15,
    ("WAV", "PCM_24"): 2**-23,
    ("WAV", "FLOAT"): 1e-7,
    ("FLAC", "PCM_16"): 2**-15,
    ("AIFF", "PCM_16"): 2**-15,
    ("AU", "PCM_16"): 2**-15,
    ("W64", "PCM_16"): 2**-15,
    ("OGG", "VORBIS"): 0.02,
    ("OGG", "OPUS"): 0.02,
    ("MP3", "MPEG_LAYER_III"): 0.02,
}


def tone(seconds: float = 2.0, rate_hz: int = RATE_HZ, frequency_hz: float = 440.0) -> np.ndarray:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return 0.25 * np.sin(2 * np.pi * frequency_hz * time_s)


def noisy_tone() -> np.ndarray:
    """Long enough, and rich enough, that half of any encoding holds whole frames of audio."""
    samples = tone(6.0)
    return samples + np.random.default_rng(0).normal(0, 0.01, len(samples))


def encode(samples, form="WAV", subtype="PCM_16", rate_hz=RATE_HZ) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def decode(data: bytes, spec: FeatureSpec = SPEC) -> np.ndarray:
    return decode_audio(io.BytesIO(data), spec)


def peak_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.fft.rfftfreq(len(samples), 1 / RATE_HZ)[spectrum.argmax()])


@pytest.mark.parametrize(("form", "tolerance"), FORMATS.items(), ids=str)
def test_decodes_to_the_samples_that_were_encoded(form, tolerance):
    decoded = decode(encode(tone(), *form))
    assert decoded.dtype == np.float32
    assert decoded.shape == (2 * RATE_HZ,)
    inner = slice(RATE_HZ // 4, -RATE_HZ // 4)  # lossy codecs ring at the ends
    np.testing.assert_allclose(decoded[inner], tone()[inner], rtol=0, atol=tolerance)


def test_mono_is_the_mean_of_the_channels_or_the_first():
    left, right = tone(), tone(frequency_hz=1000.0)
    stereo = encode(np.stack([left, right], axis=1), "WAV", "FLOAT")
    np.testing.assert_allclose(decode(stereo), (left + right) / 2, atol=1e-6)
    np.testing.assert_allclose(decode(stereo, FeatureSpec(channels="first")), left, atol=1e-6)


def test_four_channels():
    channels = np.stack([tone(frequency_hz=100.0 * k) for k in (1, 2, 3, 4)], axis=1)
    decoded = decode(encode(channels, "WAV", "FLOAT"))
    np.testing.assert_allclose(decoded, channels.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_keeps_length_frequency_and_level(rate_hz):
    decoded = decode(encode(tone(2.0, rate_hz, 1000.0), "WAV", "FLOAT", rate_hz))
    assert decoded.shape == (2 * RATE_HZ,)
    assert peak_hz(decoded) == pytest.approx(1000.0, abs=0.5)  # the bins are 0.5 Hz wide
    inner = slice(RATE_HZ // 4, -RATE_HZ // 4)
    np.testing.assert_allclose(decoded[inner], tone(2.0, RATE_HZ, 1000.0)[inner], atol=1e-3)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    """10 kHz would fold to 6 kHz; HQ is specified to about -100 dB."""
    resampled = resample(tone(1.0, 44_100, 10_000.0).astype(np.float32), 44_100, SPEC)
    assert np.abs(resampled[800:-800]).max() < 1e-4


def test_equal_rates_are_not_resampled():
    samples = tone().astype(np.float32)
    assert resample(samples, RATE_HZ, SPEC) is samples


def streamed_wav() -> bytes:
    """A WAV written to a pipe: both sizes are left at their maximum."""
    data = bytearray(encode(tone()))
    size = data.index(b"data") + 4
    data[4:8] = data[size : size + 4] = b"\xff" * 4
    return bytes(data)


def test_streamed_wav_is_accepted():
    np.testing.assert_allclose(decode(streamed_wav()), tone(), atol=2**-15)


def with_value(value: float) -> bytes:
    samples = tone()
    samples[[5, 77]] = value
    return encode(samples, "WAV", "FLOAT")


def absurd_flac() -> bytes:
    """A FLAC whose 36-bit count of samples says 2**36 - 1, which is 256 GiB."""
    data = bytearray(encode(tone(), "FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    return bytes(data)


def flac_from_a_pipe() -> bytes:
    """A FLAC that does not say how many samples it holds; libsndfile fails at its end."""
    data = bytearray(encode(tone(), "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty", "the file has 0 bytes"),
        (b"no audio, just words\n" * 100, "not_audio", "Format not recognised."),
        (b"x", "not_audio", "Format not recognised."),
        (encode(tone())[:20], "undecodable", "Malformed 'fmt ' chunk"),
        (encode(tone(0.0)), "no_samples", "the file holds a header and no samples"),
        (encode(tone(0.0), "AIFF"), "no_samples", "the file holds a header and no samples"),
        (with_value(np.nan), "not_finite", "2 samples are NaN or infinite"),
        (with_value(-np.inf), "not_finite", "2 samples are NaN or infinite"),
        (absurd_flac(), "undecodable", "psf_fseek"),
        (flac_from_a_pipe(), "undecodable", "psf_fseek"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rejections(data, reason, detail):
    with pytest.raises(RejectedRecording) as rejection:
        decode(data)
    assert (rejection.value.stage, rejection.value.reason) == ("decode", reason)
    assert detail in rejection.value.detail


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("form", FORMATS, ids=str)
def test_truncated_files_are_rejected(form, share):
    whole = encode(noisy_tone(), *form)
    assert len(decode(whole)) == 6 * RATE_HZ
    with pytest.raises(RejectedRecording) as rejection:
        decode(whole[: int(len(whole) * share)])
    assert rejection.value.reason == "truncated"


def test_truncated_wav_says_how_much_is_missing():
    """16-bit: two seconds are 64,000 bytes after a header of 44."""
    with pytest.raises(RejectedRecording) as rejection:
        decode(encode(tone())[: 44 + 1000])
    assert rejection.value.detail == "the data chunk promises 64000 bytes, 1000 are there"


def test_bytes_after_the_audio_are_no_damage():
    """Tags and padding at the end of a WAV are common."""
    np.testing.assert_allclose(decode(encode(tone()) + b"TAG" + bytes(125)), tone(), atol=2**-15)
