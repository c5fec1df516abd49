"""A recording as a whole: decoders in turn, what is rejected before a tile is given, memory."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from beam_features.datasets.sample import synthesise
from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.audio.log_mel import log_mel
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import Heard, ReadSettings, hold, read_tiles
from dem.errors import JobError
from tests.beam_features.encoded import RATE_HZ, noisy_tone, tone

SPEC = FeatureSpec()


def read(uri: object, max_duration_s: float | None = None) -> tuple[np.ndarray, Heard]:
    """Tiles of the first channel, and what was heard."""
    heard = Heard()
    blocks = list(read_tiles(str(uri), ReadSettings(SPEC, max_duration_s), heard))
    return np.concatenate(blocks, axis=1)[0], heard


def rejected(uri: object, max_duration_s: float | None = None) -> RejectedRecording:
    heard, blocks = Heard(), []
    with pytest.raises(RejectedRecording) as rejection:
        blocks += list(read_tiles(str(uri), ReadSettings(SPEC, max_duration_s), heard))
    assert heard == Heard()
    assert blocks == []
    return rejection.value


def test_what_was_heard(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2.5), RATE_HZ)
    tiles, heard = read(path)
    assert len(tiles) == 2
    assert (heard.seconds, heard.bytes_read) == (2.5, 44 + 2 * 40_000)
    assert (heard.cancelled, heard.audible_share) == (False, 1.0)


def test_half_of_the_tiles_are_audible(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.concatenate([tone(2.0), np.zeros(2 * RATE_HZ)]), RATE_HZ)
    _, heard = read(path)
    assert heard.audible_share == 0.75  # the last frames of the tone reach into the third tile


def test_equal_samples_have_one_digest_in_all_containers(ffmpeg, tmp_path):
    """16 and 24 bits in WAV, FLAC, AIFF, float WAV, and Apple's lossless codec."""
    samples = np.round(noisy_tone() * 2**15) / 2**15
    for name, subtype in (
        *(("a.wav", "PCM_16"), ("a.flac", "PCM_16"), ("a.aiff", "PCM_24"), ("b.flac", "PCM_24")),
        *(("b.wav", "FLOAT"), ("c.wav", "DOUBLE"), ("d.wav", "PCM_32")),
    ):
        soundfile.write(tmp_path / name, samples, RATE_HZ, subtype=subtype)
    alac = [ffmpeg, "-v", "error", "-i", tmp_path / "a.wav", "-c:a", "alac", tmp_path / "a.m4a"]
    subprocess.run(alac, check=True)
    digests = {path.name: read(path)[1].samples_sha256 for path in tmp_path.iterdir()}
    assert (len(digests), len(set(digests.values()))) == (8, 1)
    soundfile.write(tmp_path / "other.wav", samples[:-1], RATE_HZ)
    assert read(tmp_path / "other.wav")[1].samples_sha256 not in digests.values()


@pytest.mark.parametrize("right", [-1.0, -0.95])
def test_antiphase_is_cancelled_and_silent_if_nothing_is_left(tmp_path, right):
    path = tmp_path / "a.wav"
    channels = np.stack([noisy_tone(), right * noisy_tone()], axis=1)
    soundfile.write(path, channels, RATE_HZ, subtype="FLOAT")  # soundfile rounds PCM down
    _, heard = read(path)
    assert (heard.cancelled, heard.audible_share) == (True, 0.0 if right == -1.0 else 1.0)
    first = Heard()
    list(read_tiles(str(path), ReadSettings(FeatureSpec(channels="first")), first))
    assert (first.cancelled, first.audible_share) == (False, 1.0)


def test_a_constant_is_no_sound(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.full(2 * RATE_HZ, 0.1), RATE_HZ)
    assert read(path)[1].audible_share == 0.0


def test_one_dead_channel_of_two_is_half_silent(tmp_path):
    path, heard = tmp_path / "a.wav", Heard()
    soundfile.write(path, np.stack([tone(), np.zeros_like(tone())], axis=1), RATE_HZ)
    list(read_tiles(str(path), ReadSettings(FeatureSpec(channels="all")), heard))
    assert heard.audible_share == 0.5


@pytest.mark.parametrize("channels", ["mean", "first", "all"])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("peak", [1e-45, 1e-38, 1.0, 2.0**31, 2.0**32])
def test_log_mel_of_every_allowed_sample_is_finite(tmp_path, peak, rate_hz, channels):
    """Full-scale squares and clicks, which a resampler overshoots, down to subnormal samples."""
    signs = np.sign(np.random.default_rng(0).normal(size=(2 * rate_hz, 2)))
    signs[rate_hz:] = np.sign(np.sin(np.arange(rate_hz) / 50))[:, np.newaxis]
    path = tmp_path / "a.wav"
    soundfile.write(path, (peak * signs).astype(np.float32), rate_hz, subtype="FLOAT")
    spec = FeatureSpec(channels=channels)
    blocks = list(read_tiles(str(path), ReadSettings(spec), Heard()))
    tiles = np.concatenate(blocks, axis=1).astype(np.float16)
    assert np.isfinite(tiles).all()
    assert tiles.max() < 60  # 2 log(2**32 * 200), less what the mel filters take off


def test_one_sample_beyond_any_scale_rejects_its_recording(tmp_path):
    path = tmp_path / "a.wav"
    samples = tone().astype(np.float32)
    samples[100] = 1e25
    soundfile.write(path, samples, RATE_HZ, subtype="FLOAT")
    why = rejected(path)
    assert (why.stage, why.reason) == ("decode", "out_of_range")
    assert why.detail.startswith("the sample at 0.006 s is 1e+25, beyond 2^32")


def test_seconds_are_those_of_the_file_not_of_what_resampling_leaves(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0, 44_101), 44_101)
    assert read(path)[1].seconds == 1.0


def test_sample_songs_are_read_like_files():
    uri = "sample:0/fall_swell_high/03"
    tiles, heard = read(uri)
    expected = log_mel(synthesise(uri), SPEC)[:1200]
    np.testing.assert_allclose(tiles.reshape(-1, 64), expected, rtol=0, atol=1e-5)
    assert (heard.seconds, heard.bytes_read, heard.audible_share) == (12.0, 0, 1.0)


def test_ffmpeg_reads_what_libsndfile_does_not(ffmpeg, tmp_path):
    source, target = tmp_path / "a.wav", tmp_path / "a.m4a"
    soundfile.write(source, noisy_tone(), RATE_HZ)
    subprocess.run([ffmpeg, "-v", "error", "-i", source, "-c:a", "alac", target], check=True)
    by_ffmpeg, heard = read(target)
    np.testing.assert_allclose(by_ffmpeg, read(source)[0], atol=1e-4)
    assert (heard.seconds, heard.bytes_read) == (6.0, target.stat().st_size)
    target.write_bytes(target.read_bytes()[:20_000])
    assert rejected(target).reason == "truncated"


def test_without_ffmpeg_the_codec_is_named(no_ffmpeg, tmp_path):
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    why = rejected(path)
    assert (why.reason, why.detail) == (
        "unsupported_codec",
        "libsndfile does not support MPEG-4; install ffmpeg, or the extra `ffmpeg`, to read it",
    )


def test_words_are_no_audio_whoever_is_asked(ffmpeg, tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("these are words " * 100)
    why = rejected(path)
    assert (why.reason, why.detail) == ("not_audio", "Format not recognised.")


def test_too_long(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2.5), RATE_HZ)
    assert len(read(path, 2.5)[0]) == 2
    assert rejected(path, 2.4).reason == "too_long"


def test_missing(tmp_path):
    why = rejected(tmp_path / "none.wav")
    assert (why.stage, why.reason) == ("read", "missing")


def test_unreadable(tmp_path, as_nobody):
    path = tmp_path / "secret.wav"
    soundfile.write(path, tone(), RATE_HZ)
    path.chmod(0)
    with as_nobody():
        why = rejected(path)
    assert (why.stage, why.reason, why.detail) == ("read", "unreadable", "permission denied")


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("a.wav/b.wav", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("loop.wav", "Too many levels of symbolic links"),
    ],
)
def test_what_no_file_can_be_is_a_reason_and_no_crash(tmp_path, name, detail):
    soundfile.write(tmp_path / "a.wav", tone(), RATE_HZ)
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    why = rejected(tmp_path / name)
    assert (why.stage, why.reason, why.detail) == ("read", "unreadable", detail)


# Held back until the recording is known to be good

BLOCKS = [np.full((1, 2, 100, 64), value, np.float32) for value in range(5)]


def test_short_recordings_are_held_to_their_end():
    read_through = []

    def blocks():
        yield from BLOCKS
        raise RejectedRecording("decode", "truncated", "at the very end")

    given = hold(blocks(), lambda: read_through.append(1), "a.wav")
    with pytest.raises(RejectedRecording):
        next(given)
    assert read_through == []


def test_long_recordings_are_read_through_before_the_first_block():
    """Of five blocks two exceed what is held; the others pass one by one."""
    log: list[object] = []

    def blocks():
        for index, block in enumerate(BLOCKS):
            log.append(index)
            yield block

    given = hold(blocks(), lambda: log.append("read through"), "a.wav", 2 * BLOCKS[0].nbytes - 1)
    log.extend(f"given {block[0, 0, 0, 0]:.0f}" for block in given)
    assert log == [
        *(0, 1, "read through", "given 0", "given 1"),
        *(2, "given 2", 3, "given 3", 4, "given 4"),
    ]


def test_long_recordings_damaged_at_the_end_give_nothing():
    def read_through() -> None:
        raise RejectedRecording("decode", "truncated", "at the very end")

    with pytest.raises(RejectedRecording, match="at the very end"):
        next(hold(iter(BLOCKS), read_through, "a.wav", 0))


def test_recordings_that_change_while_they_are_read_stop_the_job():
    def blocks():
        yield BLOCKS[0]
        raise RejectedRecording("decode", "truncated", "cut")

    given = hold(blocks(), lambda: None, "a.wav", 0)
    next(given)
    with pytest.raises(JobError, match=r"a\.wav changed while it was read .*; run again"):
        next(given)


@pytest.mark.slow
@pytest.mark.parametrize(("n_channels", "hours"), [(1, 10), (4, 3)])
def test_hours_fit_into_little_memory(tmp_path, n_channels, hours):
    """The samples alone would take 2.1 GiB of float32 or more; a worker may take 1.5 GiB."""
    path = tmp_path / "long.wav"
    second = np.random.default_rng(0).normal(0, 0.05, (RATE_HZ, n_channels))
    with soundfile.SoundFile(path, "w", RATE_HZ, n_channels) as file:
        for _ in range(hours * 3600):
            file.write(second)
    program = f"""
from pathlib import Path
from beam_features.job.plan import Shard
from beam_features.job.shard_writer import write_shard
from beam_features.recording import Recording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import ReadSettings
recording = Recording("long", {str(path)!r}, None, "train", "long", "long")
shard = Shard("train", 0, 1, ((recording,),))
settings = ReadSettings(FeatureSpec(channels="all"))
summary = write_shard(shard, {str(tmp_path)!r}, {{}}, settings)
(peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
print(summary.tiles, int(peak.split()[1]) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    tiles, peak_mib = map(int, done.stdout.split())
    assert tiles == hours * 3600 * n_channels
    assert peak_mib < 700, done.stderr
    path.unlink()
