"""One shard: its records, its summary, its rejected recordings."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from beam_features.job.plan import Shard
from beam_features.job.shard_writer import ShardSummary, write_shard
from beam_features.recording import Outcome, Recording, Rejection
from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import ReadSettings
from benchmarks.reference import librosa_log_mel

SPEC = FeatureSpec()
LABEL_IDS = {"dog": 0, "rain": 1}


def make_shard(*uris: Path, label: str | None = "rain") -> Shard:
    contexts = [(Recording(u.name, str(u), label, "train", u.name, u.name),) for u in uris]
    return Shard("train", 0, 1, tuple(contexts))


@pytest.fixture
def write(tmp_path):
    """Write a shard into ``tmp_path/out``."""

    def write(shard: Shard, spec: FeatureSpec = SPEC) -> ShardSummary:
        return write_shard(shard, str(tmp_path / "out"), LABEL_IDS, ReadSettings(spec))

    return write


@pytest.fixture
def shard_path(tmp_path) -> Path:
    return tmp_path / "out" / "train-00000-of-00001.tfrecord"


def librosa_tiles(samples: np.ndarray, spec: FeatureSpec) -> np.ndarray:
    frames = librosa_log_mel(samples, spec)
    n_tiles = len(frames) // spec.tile_frames
    return frames[: n_tiles * spec.tile_frames].reshape(n_tiles, *spec.tile_shape)


@pytest.mark.parametrize(
    "spec", [SPEC, FeatureSpec(sample_rate_hz=8_000, fft_length=256, n_mels=40, tile_s=0.5)]
)
@pytest.mark.parametrize("name", ["dog/1.wav", "rain/5.wav", "dog/4.wav"])
def test_tiles_equal_librosas_to_float16_rounding(
    songs, write, shard_path, read_strips, name, spec
):
    """float16 keeps 11 bits: half a step is 2**-11 of the value, and 1e-4 is the float32 part."""
    samples, rate_hz = soundfile.read(songs / name, dtype="float32")
    samples = librosa.resample(
        samples, orig_sr=rate_hz, target_sr=spec.sample_rate_hz, res_type="soxr_hq"
    )
    expected = librosa_tiles(samples, spec)
    write(make_shard(songs / name), spec)
    tiles = np.concatenate([strip.log_mel for strip in read_strips(shard_path, spec)])
    assert tiles.dtype == np.float16
    np.testing.assert_allclose(tiles, expected, rtol=2**-11, atol=1e-4)


def test_strips_of_a_shard(songs, write, shard_path, read_strips):
    """70 tiles make strips of 64 and 6; contexts follow each other in the order of the plan."""
    write(make_shard(songs / "dog/4.wav", songs / "dog/1.wav"))
    strips = read_strips(shard_path, SPEC)
    assert [(s.context_id, s.first_tile, len(s.log_mel)) for s in strips] == [
        ("4.wav", 0, 64),
        ("4.wav", 64, 6),
        ("1.wav", 0, 2),
    ]
    assert {label for strip in strips for label in strip.labels} == {LABEL_IDS["rain"]}


def test_summary_counts_what_was_written(songs, write, shard_path, read_strips):
    """70 s at 8 kHz and 2.5 s at 16 kHz."""
    summary = write(make_shard(songs / "dog/4.wav", songs / "dog/1.wav"))
    strips = read_strips(shard_path, SPEC)
    assert (summary.strips, summary.tiles, summary.recordings) == (3, 72, 2)
    assert summary.seconds == pytest.approx(72.5, abs=1e-9)
    assert summary.rejections == ()
    sizes = [(songs / name).stat().st_size for name in ("dog/4.wav", "dog/1.wav")]
    assert summary.bytes_read == sum(sizes)
    assert summary.bytes_written == shard_path.stat().st_size
    assert summary.silent == 0
    expected = Moments.of(np.concatenate([strip.log_mel for strip in strips]))
    assert summary.moments.count == expected.count == 7200
    np.testing.assert_allclose(summary.moments.sum, expected.sum, rtol=1e-12)
    np.testing.assert_allclose(summary.moments.sum_of_squares, expected.sum_of_squares, rtol=1e-12)
    assert ShardSummary.parse(summary.dump()) == summary


def test_outcome_of_each_recording(damaged_songs, write):
    summary = write(make_shard(damaged_songs / "dog/1.wav", damaged_songs / "dog/words.wav"))
    first, second = summary.outcomes
    assert (first.recording_id, first.seconds, first.rejection) == ("1.wav", 2.5, None)
    assert first.bytes_read == (damaged_songs / "dog/1.wav").stat().st_size
    assert second == Outcome("words.wav", summary.rejections[0])


def test_writing_again_gives_the_same_bytes(songs, write, shard_path):
    shard = make_shard(songs / "dog/1.wav", songs / "rain/ü 6.ogg")
    write(shard)
    before = shard_path.read_bytes()
    write(shard)
    assert shard_path.read_bytes() == before


def test_unusable_recordings_are_reported_and_the_others_remain(
    damaged_songs, write, shard_path, read_strips, tmp_path
):
    names = ["rain/cut.wav", "rain/7.wav", "dog/empty.wav", "dog/words.wav", "none.wav"]
    summary = write(make_shard(*(damaged_songs / name for name in names)))
    assert [strip.context_id for strip in read_strips(shard_path, SPEC)] == ["7.wav"]
    assert (summary.recordings, summary.tiles, summary.seconds) == (1, 2, 2.0)
    # Half of 64,044 bytes, less the header of 44.
    cut = "the header says 64000 bytes of audio, 31978 follow"
    assert summary.rejections == (
        Rejection(f"{damaged_songs}/rain/cut.wav", "decode", "truncated", cut),
        Rejection(f"{damaged_songs}/dog/empty.wav", "decode", "empty", "the file has 0 bytes"),
        Rejection(
            f"{damaged_songs}/dog/words.wav", "decode", "not_audio", "Format not recognised."
        ),
        Rejection(f"{damaged_songs}/none.wav", "read", "missing", "there is no such file"),
    )


def test_silent_recordings_are_kept_and_counted(write, shard_path, read_strips, tmp_path):
    """Zeros, and a dead microphone that gives one value all the time."""
    for name, value in (("zeros.wav", 0.0), ("dead.wav", 0.1)):
        soundfile.write(tmp_path / name, np.full(32_000, value), 16_000)
    summary = write(make_shard(tmp_path / "zeros.wav", tmp_path / "dead.wav"))
    assert (summary.recordings, summary.silent, summary.tiles) == (2, 2, 4)
    zeros, _ = read_strips(shard_path, SPEC)
    assert (zeros.log_mel == np.float16(np.log(1e-6))).all()


def test_each_channel_is_a_sensor(write, shard_path, read_strips, tmp_path):
    channels = np.random.default_rng(0).normal(0, 0.1, (32_000, 4))
    soundfile.write(tmp_path / "array.wav", channels, 16_000, subtype="FLOAT")
    summary = write(make_shard(tmp_path / "array.wav"), FeatureSpec(channels="all"))
    assert (summary.recordings, summary.seconds, summary.tiles) == (1, 2.0, 8)
    strips = read_strips(shard_path, SPEC)
    assert [strip.sensor_id for strip in strips] == [f"channel{k}" for k in range(4)]
    for strip, samples in zip(strips, channels.T.astype(np.float32), strict=True):
        expected = librosa_tiles(samples, SPEC)
        np.testing.assert_allclose(strip.log_mel, expected, rtol=2**-11, atol=1e-4)
        assert set(strip.recording_ids) == {"array.wav"}


def test_shard_of_rejected_recordings_is_an_empty_file(damaged_songs, write, shard_path):
    summary = write(make_shard(damaged_songs / "dog/empty.wav"))
    assert shard_path.read_bytes() == b""
    assert (summary.strips, summary.moments.count, summary.moments.sum) == (0, 0, (0.0,) * 64)


def test_fault_of_our_own_is_no_rejection_and_leaves_no_shard(songs, write, tmp_path):
    with pytest.raises(KeyError, match="cat"):
        write(make_shard(songs / "dog/1.wav", label="cat"))
    assert list((tmp_path / "out").iterdir()) == []
