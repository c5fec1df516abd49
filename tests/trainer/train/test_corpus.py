"""Frames in memory and on a disk give the same training."""

from pathlib import Path

import numpy as np
import pytest

from tests.trainer.jobs import train_words, weights
from tests.trainer.synthetic import write_features
from trainer.runtime.cache_dir import CACHE_DIR
from trainer.train.__main__ import main


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore what ``--cache-dir`` sets."""
    monkeypatch.setenv(CACHE_DIR, "")


def test_frames_on_a_disk_train_the_same_encoder(
    features_dir: Path, trained_job: Path, tmp_path: Path
) -> None:
    """On a disk, the host cuts the tiles; in memory, the step does."""
    cache = tmp_path / "cache"
    words = [*train_words(features_dir, tmp_path / "job"), "--cache-dir", str(cache)]
    assert main(words) == 0
    for ours, expected in zip(weights(tmp_path / "job"), weights(trained_job), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
    (frames,) = cache.glob("*/frames")
    assert frames.stat().st_size == 24 * 6 * 16 * 16 * 2  # songs, tiles, frames, mels, bytes


def test_a_later_run_takes_the_frames_that_are_there(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", {"train": 8})
    settings = ("epochs=1", "steps_per_epoch=1", "batch_size=8", "encoder=dense")
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert main([*train_words(features, tmp_path / "job1", *settings), *cache]) == 0
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/*")}
    assert main([*train_words(features, tmp_path / "job2", *settings), *cache]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*/*")} == made


def test_a_cache_in_a_bucket_is_refused(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = train_words(features_dir, tmp_path / "job")
    assert main([*words, "--cache-dir", "gs://bucket/cache"]) == 2
    assert "--cache-dir gs://bucket/cache is not a local directory; give one" in (
        capsys.readouterr().err
    )
