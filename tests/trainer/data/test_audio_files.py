"""Audio files found and read as the feature job does it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.datasets.folder import list_recordings
from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import Heard, ReadSettings, read_tiles
from dem.errors import InputError
from tests.beam_features.conftest import write_noise
from trainer.data.audio_files import Float16, Float32, find_recordings, represent_recording

SPEC = FeatureSpec()


def means(tiles: Float16) -> Float32:
    """The mean of each mel bin of a tile as its vector."""
    return tiles.astype(np.float32).mean(axis=1)


def write_pair(path: Path, seconds: float, rate_hz: int = 16_000) -> None:
    """Two channels; the second is silent at first."""
    samples = np.random.default_rng(0).normal(0, 0.1, (round(seconds * rate_hz), 2))
    samples[: 2 * rate_hz, 1] = 0
    soundfile.write(path, samples, rate_hz)


@pytest.mark.parametrize("channels", ["mean", "first", "all"])
@pytest.mark.parametrize("seconds", [0.01, 0.5, 150.3])
def test_tiles_are_those_of_the_feature_job(tmp_path: Path, channels, seconds: float) -> None:
    """Below one tile, and three batches of tiles."""
    spec = FeatureSpec(channels=channels)
    uri = str(tmp_path / "pair.wav")
    write_pair(Path(uri), seconds)
    heard = Heard()
    blocks = list(read_tiles(uri, ReadSettings(spec), heard))
    tiles = np.concatenate(blocks, axis=1).astype(np.float16)
    found = represent_recording(uri, spec, means)
    assert found.vectors.shape == (2 if channels == "all" else 1, max(1, int(seconds)), 64)
    expected = means(tiles.reshape(-1, *spec.tile_shape)).reshape(found.vectors.shape)
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-6)
    assert found.audible.mean() == heard.audible_share
    assert found.seconds == heard.seconds == pytest.approx(seconds)
    assert found.samples_sha256 == heard.samples_sha256
    if channels == "all":
        assert found.audible[:, 0].tolist() == [True, False]


@pytest.mark.parametrize("seconds", [0.5, 1.3, 150.3])
def test_overlapping_tiles_are_cut_every_part_of_a_tile(tmp_path: Path, seconds: float) -> None:
    """As a loop over the frames cuts them, also where two batches meet."""
    uri = str(tmp_path / "pair.wav")
    write_pair(Path(uri), seconds)
    (channel,) = np.concatenate(list(read_tiles(uri, ReadSettings(SPEC), Heard())), axis=1)
    frames = channel.reshape(-1, SPEC.n_mels).astype(np.float16)
    starts = range(0, len(frames) - SPEC.tile_frames + 1, 25)
    expected = means(np.stack([frames[start : start + SPEC.tile_frames] for start in starts]))
    (found,) = represent_recording(uri, SPEC, means, overlap=4).vectors
    assert found.shape == expected.shape

    def in_order(rows: Float32) -> Float32:
        return rows[np.lexsort(rows.T)]

    np.testing.assert_allclose(in_order(found), in_order(expected), rtol=1e-6)


def test_tiles_come_in_batches(tmp_path: Path) -> None:
    """The longest batch does not depend on the length of the recording."""
    sizes: list[int] = []

    def count(tiles: Float16) -> Float32:
        sizes.append(len(tiles))
        return means(tiles)

    write_noise(tmp_path / "long.wav", 900, 16_000, 0)
    represent_recording(str(tmp_path / "long.wav"), SPEC, count)
    assert sum(sizes) == 900
    assert max(sizes) < 128


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Path]:
    whole = tmp_path / "whole.wav"
    write_noise(whole, 3, 16_000, 0)
    data = whole.read_bytes()
    whole.unlink()
    (tmp_path / "cut.wav").write_bytes(data[: len(data) // 2])
    (tmp_path / "words.wav").write_text("these are words")
    (tmp_path / "header.wav").write_bytes(data[:44])
    samples = np.full(16_000, 1e25, np.float32)
    soundfile.write(tmp_path / "loud.wav", samples, 16_000, "FLOAT")
    soundfile.write(tmp_path / "nan.wav", samples * np.nan, 16_000, "FLOAT")
    return tmp_path


def test_recordings_are_rejected_for_the_reasons_of_the_feature_job(damaged: Path) -> None:
    rejected = {}
    for path in sorted(damaged.glob("*.wav")):
        with pytest.raises(RejectedRecording) as job:
            list(read_tiles(str(path), ReadSettings(SPEC), Heard()))
        with pytest.raises(RejectedRecording) as ours:
            represent_recording(str(path), SPEC, means)
        assert str(ours.value) == str(job.value)
        rejected[path.name] = ours.value.reason
    assert rejected["words.wav"] == "not_audio"
    assert rejected["loud.wav"] == "out_of_range"
    assert rejected["nan.wav"] == "not_finite"


def test_directories_hold_the_files_of_dataset_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside.wav"
    outside.write_text("x")
    root = tmp_path / "music"
    for name in ("b/2.wav", "a/1.MP3", "a/.hidden.wav", ".trash/3.wav", "notes.txt", "c d/ü.flac"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    (root / "empty.wav").touch()
    (root / "link.wav").symlink_to(outside)
    (root / "nowhere.wav").symlink_to(root / "gone.wav")
    (root / "again").symlink_to(root / "a")
    listing = list_recordings(str(root))
    found = find_recordings([f"{root}/"])
    assert dict(found.recordings) == {r.recording_id: r.uri for r in listing.recordings}
    assert list(found.recordings) == ["a/1.MP3", "b/2.wav", "c d/ü.flac"]
    skipped = {rejection.uri: (rejection.reason, rejection.detail) for rejection in listing.skipped}
    assert dict(found.skipped) == skipped
    assert len(skipped) == 6


def test_inputs_keep_their_order_and_names(tmp_path: Path) -> None:
    for name in ("x/1.wav", "x/2.wav", "y/1.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    file, directory = str(tmp_path / "y/1.wav"), str(tmp_path / "x")
    found = find_recordings([file, directory]).recordings
    assert list(found) == [file, f"{directory}/1.wav", f"{directory}/2.wav"]
    assert all(name == uri for name, uri in found.items())


@pytest.mark.parametrize(
    "uri", ["s3://bucket/Music", "file:///x", "https://example.com/a.wav", "hdfs://x/y"]
)
def test_foreign_schemes_are_refused(uri: str) -> None:
    with pytest.raises(InputError, match=f"unsupported storage '{uri}'; give a path or gs://"):
        find_recordings([uri])


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    name = str(tmp_path / "caf\udce9.wav")
    Path(name).write_text("x")
    with pytest.raises(InputError, match=r"caf\\udce9.wav' is not UTF-8; rename the file"):
        find_recordings([name])
