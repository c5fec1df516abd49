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
from beam_features.tiles.read import ReadSettings, Tally, hold, read_tiles
from dem.errors import JobError
from tests.beam_features.encoded import RATE_HZ, noisy_tone, tone

SPEC = FeatureSpec()


def read(uri: object, max_duration_s: float | None = None) -> tuple[np.ndarray, Tally]:
    """Tiles of the first channel, and what was counted."""
    tally = Tally()
    blocks = list(read_tiles(str(uri), ReadSettings(SPEC, max_duration_s), tally))
    return np.concatenate(blocks, axis=1)[0], tally


def rejected(uri: object, max_duration_s: float | None = None) -> RejectedRecording:
    tally, blocks = Tally(), []
    with pytest.raises(RejectedRecording) as rejection:
        blocks += list(read_tiles(str(uri), ReadSettings(SPEC, max_duration_s), tally))
    assert tally == Tally()
    assert blocks == []
    return rejection.value


def test_tally(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(2.5), RATE_HZ)
    tiles, tally = read(path)
    assert len(tiles) == 2
    assert tally == Tally(recordings=1, silent=0, seconds=2.5, n_bytes=44 + 2 * 40_000)


def test_seconds_are_those_of_the_file_not_of_what_resampling_leaves(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(1.0, 44_101), 44_101)
    assert read(path)[1].seconds == 1.0


def test_sample_songs_are_read_like_files():
    uri = "sample:0/bell_low_running/03"
    tiles, tally = read(uri)
    expected = log_mel(synthesise(uri), SPEC)[:1200]
    np.testing.assert_allclose(tiles.reshape(-1, 64), expected, rtol=0, atol=1e-5)
    assert tally == Tally(recordings=1, silent=0, seconds=12.0, n_bytes=0)


def test_ffmpeg_reads_what_libsndfile_does_not(ffmpeg, tmp_path):
    source, target = tmp_path / "a.wav", tmp_path / "a.m4a"
    soundfile.write(source, noisy_tone(), RATE_HZ)
    subprocess.run([ffmpeg, "-v", "error", "-i", source, "-c:a", "alac", target], check=True)
    by_ffmpeg, tally = read(target)
    np.testing.assert_allclose(by_ffmpeg, read(source)[0], atol=1e-4)
    assert tally == Tally(recordings=1, silent=0, seconds=6.0, n_bytes=target.stat().st_size)
    target.write_bytes(target.read_bytes()[:20_000])
    assert rejected(target).reason == "truncated"


def test_without_ffmpeg_the_codec_is_named(no_ffmpeg, tmp_path):
    path = tmp_path / "a.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    why = rejected(path)
    assert (why.reason, why.detail) == (
        "unsupported_codec",
        "libsndfile does not support MPEG-4; install ffmpeg to read it",
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
