"""Weights and embeddings that are not finite: one line, and the last good state stays."""

from pathlib import Path

import numpy as np
import pytest

from tests.processes import error_in
from tests.trainer.jobs import train_words
from trainer.metrics.collapse import measure_spread, sign_of_collapse
from trainer.train.__main__ import main

SMALL = ("encoder=dense", "encoder_width=0.05", "encoder_depth=1", "steps_per_epoch=2")


@pytest.mark.parametrize(
    "settings",
    [
        ("learning_rate=1e12", "epochs=2"),
        ("learning_rate=1e12", "epochs=1", "steps_per_epoch=1"),
        ("learning_rate=1e5", "precision=mixed_float16", "epochs=1"),
    ],
)
def test_a_run_that_overflows_says_so_and_keeps_nothing(
    features_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    settings: tuple[str, ...],
) -> None:
    """Also in the last step of the run: nothing is exported."""
    assert main(train_words(features_dir, tmp_path / "job", *SMALL, *settings)) == 1
    line = error_in(capsys.readouterr().err)
    assert " are nan or inf" in line
    assert " at step " in line
    assert "a lower learning_rate than 1" in line
    assert "clip_norm=1.0" in line
    assert ("mixed_bfloat16" in line) == ("precision=mixed_float16" in settings)
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"config.yaml", "logs"}


def test_the_last_finite_checkpoint_stays(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As if the learning rate had been too high only from the second epoch on."""
    job = tmp_path / "job"
    assert main(train_words(features_dir, job, *SMALL, "epochs=1")) == 0
    export = (job / "export" / "encoder.keras").read_bytes()
    config = (job / "config.yaml").read_text()
    (job / "config.yaml").write_text(config.replace("learning_rate: 0.001", "learning_rate: 1e12"))
    words = train_words(features_dir, job, *SMALL, "epochs=2", "learning_rate=1e12")
    assert main(words) == 1
    assert "at step 4; choose another" in error_in(capsys.readouterr().err)
    assert not (job / "metrics.json").exists()
    assert (job / "export" / "encoder.keras").read_bytes() == export
    assert_finite(job / "checkpoints" / "ckpt-1.npz")


def assert_finite(checkpoint: Path) -> None:
    """And that it is the only one."""
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
    with np.load(checkpoint) as arrays:
        parts = [name for name in arrays if name.startswith(("encoder", "optimizer"))]
        assert len(parts) > 10
        for name in parts:
            assert np.isfinite(arrays[name]).all(), name


def test_embeddings_that_are_all_zero_are_a_sign_of_collapse() -> None:
    spread = measure_spread(np.zeros((20, 4), np.float32), np.zeros((20, 3), np.float32))
    assert spread == {"embedding_std": 0, "effective_rank": 1, "projection_std": 0}
    assert sign_of_collapse(spread, {"loss": 0.2}, 0.2) == "projection_std 0 is below 0.02"
