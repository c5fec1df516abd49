"""The fallback decoder on files that libsndfile does not read, made by ffmpeg itself."""

import io
import subprocess
from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.audio.ffmpeg import open_audio
from beam_features.schema.audio.files import RejectedRecording
from tests.beam_features.encoded import RATE_HZ, noisy_tone, tone

CODECS = {  # file name: encoder, how far a sample may lie from the original
    "aac.m4a": ("aac", 0.02),
    "alac.m4a": ("alac", 2**-15),
    "aac.aac": ("aac", 0.02),
    "wma.wma": ("wmav2", 0.02),
}


def decode(data: bytes) -> tuple[np.ndarray, int]:
    with open_audio(io.BytesIO(data)) as audio:
        return np.concatenate(list(audio.blocks)), audio.sample_rate_hz


@pytest.mark.parametrize(("name", "codec", "tolerance"), [(n, *c) for n, c in CODECS.items()])
def test_decodes_what_libsndfile_does_not(convert, name, codec, tolerance):
    """Encoders that do not tell their delay put it in front: look for the best shift."""
    samples = noisy_tone()
    decoded, rate_hz = decode(convert(samples, name, "-c:a", codec))
    assert rate_hz == RATE_HZ
    assert decoded.dtype == np.float32
    assert 0 <= len(decoded) - len(samples) <= 4096 or name.endswith(".wma")
    inner = samples[RATE_HZ : 2 * RATE_HZ]
    shifts = range(RATE_HZ - 3000, RATE_HZ + 3000)
    errors = [np.sqrt(np.mean((decoded[s : s + RATE_HZ, 0] - inner) ** 2)) for s in shifts]
    assert min(errors) < tolerance


def test_channels_and_rate(convert):
    samples = np.stack([tone(2.0, 44_100), tone(2.0, 44_100, 1000.0)], axis=1)
    decoded, rate_hz = decode(convert(samples, "stereo.m4a", "-c:a", "alac", rate_hz=44_100))
    assert (rate_hz, decoded.shape) == (44_100, samples.shape)
    np.testing.assert_allclose(decoded, samples, atol=2**-15)


def test_sound_of_a_video(convert):
    video = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", "-c:v", "mpeg4", "-c:a", "alac"]
    decoded, _ = decode(convert(tone(1.0), "video.mp4", *video))
    np.testing.assert_allclose(decoded[:, 0], tone(1.0), atol=2**-15)


def rejected(data: bytes) -> RejectedRecording:
    with pytest.raises(RejectedRecording) as rejection:
        decode(data)
    assert rejection.value.stage == "decode"
    assert " @ 0x" not in rejection.value.detail  # an address, other in every run
    return rejection.value


@pytest.mark.parametrize("options", [(), ("-movflags", "+faststart")], ids=["index last", "first"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated(convert, options, share):
    whole = convert(noisy_tone(), "cut.m4a", "-c:a", "aac", *options)
    assert rejected(whole[: int(share * len(whole))]).reason == "truncated"


def test_damaged(convert):
    data = bytearray(convert(noisy_tone(), "damaged.m4a", "-c:a", "aac"))
    for position in np.random.default_rng(0).integers(2000, len(data) - 8000, 40):
        data[position] ^= 0xFF
    assert rejected(bytes(data)).reason == "undecodable"


def test_words_and_silent_videos_are_no_audio(convert):
    assert rejected(b"these are words\n" * 50).reason == "not_audio"
    only_video = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", "-c:v", "mpeg4"]
    silent = convert(tone(1.0), "silent.mp4", *only_video, "-map", "1:v")
    why = rejected(silent)
    assert (why.reason, why.detail) == ("not_audio", "ffmpeg: there is no audio stream")


def test_playlists_are_not_followed(convert, ffmpeg, tmp_path):
    """ffmpeg by itself opens the file that a playlist names, which nobody listed."""
    (tmp_path / "other.ts").write_bytes(convert(tone(), "other.ts", "-c:a", "aac"))
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nother.ts\n#EXT-X-ENDLIST\n")
    subprocess.run([ffmpeg, "-v", "error", "-i", playlist, "-f", "null", "-"], check=True)
    assert rejected(playlist.read_bytes()).reason == "not_audio"


def test_a_reader_that_stops_early_leaves_no_process(convert):
    with open_audio(io.BytesIO(convert(noisy_tone(20.0), "long.m4a", "-c:a", "aac"))) as audio:
        next(audio.blocks)
    children = Path("/proc/thread-self/children").read_text().split()
    names = [Path(f"/proc/{child}/comm").read_text().strip() for child in children]
    assert "ffmpeg" not in names
