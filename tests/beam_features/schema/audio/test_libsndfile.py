"""Decoding of real encoded files by libsndfile, and the reason for each that is damaged."""

import io

import numpy as np
import pytest
import soundfile

from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.audio.libsndfile import open_audio
from tests.beam_features.encoded import FORMATS, RATE_HZ, encode, noisy_tone, tone


def decode(data: bytes) -> np.ndarray:
    """All samples, ``[n_samples, n_channels]``."""
    with open_audio(io.BytesIO(data)) as audio:
        assert audio.sample_rate_hz == RATE_HZ
        return np.concatenate(list(audio.blocks))


@pytest.mark.parametrize(("form", "tolerance"), FORMATS.items(), ids=str)
def test_decodes_to_the_samples_that_were_encoded(form, tolerance):
    decoded = decode(encode(tone(), *form))
    assert decoded.dtype == np.float32
    assert decoded.shape == (2 * RATE_HZ, 1)
    inner = slice(RATE_HZ // 4, -RATE_HZ // 4)  # lossy codecs ring at the ends
    np.testing.assert_allclose(decoded[inner, 0], tone()[inner], rtol=0, atol=tolerance)


def test_channels_are_columns():
    channels = np.stack([tone(frequency_hz=100.0 * k) for k in (1, 2, 3, 4)], axis=1)
    np.testing.assert_allclose(decode(encode(channels, "WAV", "FLOAT")), channels, atol=1e-7)


def test_long_files_come_in_blocks_of_2_mib():
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (400_000, 4))
    with open_audio(io.BytesIO(encode(samples))) as audio:
        blocks = list(audio.blocks)
    assert [len(block) for block in blocks] == [2**17, 2**17, 2**17, 400_000 - 3 * 2**17]
    np.testing.assert_allclose(np.concatenate(blocks), samples, atol=2**-15)


def streamed_wav() -> bytes:
    """A WAV written to a pipe: both sizes are left at their maximum."""
    data = bytearray(encode(tone()))
    size = data.index(b"data") + 4
    data[4:8] = data[size : size + 4] = b"\xff" * 4
    return bytes(data)


def flac_from_a_pipe() -> bytes:
    """A FLAC that does not say how many samples it holds: its 36-bit count is 0."""
    data = bytearray(encode(tone(), "FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    return bytes(data)


@pytest.mark.parametrize("make", [streamed_wav, flac_from_a_pipe])
def test_files_written_to_a_pipe_are_read_to_their_end(make):
    np.testing.assert_allclose(decode(make())[:, 0], tone(), atol=2**-15)


def absurd_flac() -> bytes:
    """A FLAC whose count of samples says 2**36 - 1, which is 256 GiB."""
    data = bytearray(encode(tone(), "FLAC"))
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    return bytes(data)


def wav_of_rate(rate_hz: int) -> bytes:
    data = bytearray(encode(tone()))
    data[24:28] = rate_hz.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty", "the file has 0 bytes"),
        (b"no audio, just words\n" * 100, "not_audio", "Format not recognised."),
        (b"x", "not_audio", "Format not recognised."),
        (
            b"\0\0\0\x20ftypM4A \0\0\0\0" * 10,
            "unsupported_codec",
            "libsndfile does not support MPEG-4",
        ),
        (b"\xff\xf1\x50\x80" * 9, "unsupported_codec", "libsndfile does not support AAC"),
        (encode(tone())[:20], "undecodable", "Malformed 'fmt ' chunk"),
        (absurd_flac(), "truncated", "says 68719476735 frames, the file holds 32000"),
        (wav_of_rate(1), "sample_rate", "the header says 1 Hz; supported are 1000 to 1000000"),
        (wav_of_rate(2**31 - 1), "sample_rate", "the header says 2147483647 Hz"),
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
    assert rejection.value.detail == "the header says 64000 bytes of audio, 1000 follow"


def test_bytes_after_the_audio_are_no_damage():
    """Tags and padding at the end of a WAV are common."""
    decoded = decode(encode(tone()) + b"TAG" + bytes(125))
    np.testing.assert_allclose(decoded[:, 0], tone(), atol=2**-15)


# MP3 without the Xing header that says how long it is: libsndfile estimates from the first bit rate


def mp3_without_xing_header(samples: np.ndarray, mode: str) -> bytes:
    """Drop the first frame, which holds the header and no audio."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        *(file, "w", RATE_HZ, 1),
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=0.5,
        bitrate_mode=mode,
    ) as mp3:
        mp3.write(samples)
    data = file.getvalue()
    data = data[data.index(data[:2], 4) :]
    assert b"Xing" not in data
    assert b"Info" not in data
    return data


LOUD, QUIET = np.random.default_rng(0).normal(0, 0.3, 6 * RATE_HZ), np.zeros(6 * RATE_HZ)
PADDING = 2000  # what the encoder adds at both ends, which the header would tell


@pytest.mark.parametrize(
    ("samples", "mode"),
    [
        (noisy_tone(12.0), "CONSTANT"),
        (np.concatenate([QUIET, LOUD]), "VARIABLE"),  # the estimate is far too long
    ],
    ids=["constant", "quiet, then loud"],
)
def test_mp3_without_a_header_is_read_to_its_end(samples, mode):
    decoded = decode(mp3_without_xing_header(samples, mode))
    assert 0 < len(decoded) - 12 * RATE_HZ < PADDING


def test_mp3_files_one_after_the_other_are_rejected():
    """libsndfile reads as many frames as the first header promises, and leaves the second file."""
    one = encode(noisy_tone(), "MP3", "MPEG_LAYER_III")
    tag = b"ID3\4\0\0\0\6\0\0" + bytes(6 << 14)  # a picture between them
    with pytest.raises(RejectedRecording) as rejection:
        decode(one + tag + one)
    assert rejection.value.reason == "unknown_length"
    assert len(decode(one + tag)) == 6 * RATE_HZ


def test_mp3_that_goes_on_after_its_estimated_length_is_rejected():
    """Loud, then quiet: libsndfile stops a quarter into it."""
    with pytest.raises(RejectedRecording) as rejection:
        decode(mp3_without_xing_header(np.concatenate([LOUD, QUIET]), "VARIABLE"))
    assert rejection.value.reason == "unknown_length"
    assert "MPEG audio of 12.096 s, libsndfile reads 3.222 s" in rejection.value.detail
