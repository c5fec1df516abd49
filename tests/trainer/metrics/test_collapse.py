"""Numbers against loops, signs at their bounds, and runs that do collapse."""

import math
from pathlib import Path

import numpy as np
import pytest

from tests.processes import error_in
from tests.trainer.jobs import train_words
from trainer.metrics.collapse import effective_rank, measure_spread, relative_std, sign_of_collapse
from trainer.train.__main__ import main

HEALTHY = {"projection_std": 0.5, "effective_rank": 5.0, "embedding_std": 0.5}
MEANS = {"loss": 0.2, "neighbour_distance": 0.3, "opposite_distance": 0.3}


def test_std_equals_a_loop() -> None:
    rows = np.random.default_rng(0).normal(1, 2, size=(20, 5))
    columns = list(zip(*[row / math.sqrt(sum(row**2)) for row in rows], strict=True))
    stds = [math.sqrt(sum((x - sum(c) / 20) ** 2 for x in c) / 20) for c in columns]
    assert relative_std(rows) == pytest.approx(sum(stds) / 5 * math.sqrt(5))


def test_std_is_one_over_the_whole_sphere_and_zero_at_a_point() -> None:
    assert relative_std(np.random.default_rng(0).normal(size=(4000, 16))) == pytest.approx(
        1, abs=0.01
    )
    assert relative_std(np.outer(np.arange(1, 9), np.ones(16))) == pytest.approx(0, abs=1e-12)


def test_rank_is_the_exponential_of_the_entropy_of_the_singular_values() -> None:
    """Directions along three axes, 9, 4 and 1 times: singular values 3, 2 and 1."""
    rows = np.repeat(np.eye(5)[:3], [9, 4, 1], axis=0)
    shares = [3 / 6, 2 / 6, 1 / 6]
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(rows * 7) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rows", "rank"),
    [
        (np.eye(6), 6),
        (np.ones((9, 6)), 1),
        (np.outer([1, -1, 2, -2], np.ones(6)), 1),
        (np.zeros((4, 6)), 1),
    ],
    ids=["all axes", "one point", "one line", "zero"],
)
def test_rank_counts_the_dimensions_in_use(rows: np.ndarray, rank: float) -> None:
    assert effective_rank(rows) == pytest.approx(rank)


def test_noise_around_a_point_is_a_collapse() -> None:
    rows = 1 + 1e-3 * np.random.default_rng(0).normal(size=(500, 8))
    spread = measure_spread(rows, rows)
    assert spread["effective_rank"] < 1.1
    assert spread["projection_std"] < 0.001
    assert sign_of_collapse(spread, {"loss": 1.0}, margin=0.2) is not None


@pytest.mark.parametrize(
    ("spread", "means", "sign"),
    [
        ({}, {}, None),
        ({"projection_std": 0.021}, {}, None),
        ({"projection_std": 0.019}, {}, "projection_std 0.019 is below 0.02"),
        ({"effective_rank": 1.1}, {}, "effective_rank 1.1 is below 1.2"),
        ({"embedding_std": 0.0001}, {}, None),
        ({}, {"neighbour_distance": 0.001, "opposite_distance": 0.0019}, "loss 0.2 is stuck at"),
        ({}, {"neighbour_distance": 0.001, "opposite_distance": 0.0021}, None),
        ({}, {"neighbour_distance": 0.1, "opposite_distance": 0.1}, None),
    ],
)
def test_signs(spread: dict, means: dict, sign: str | None) -> None:
    found = sign_of_collapse(HEALTHY | spread, MEANS | means, margin=0.2)
    assert (found or "None").startswith(sign or "None")


def test_info_nce_has_no_margin_to_be_stuck_at() -> None:
    assert sign_of_collapse(HEALTHY, {"loss": 0.2, "neighbour_similarity": 0.0}, 0.2) is None


def collapsing(features_dir: Path, job: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Train in a way that collapses: hard mining at a thousand times the usual learning rate."""
    settings = ("encoder_depth=2", "epochs=8", "mining=hard", "margin=4.0", "learning_rate=1.0")
    assert main(train_words(features_dir, job, *settings)) == 1
    assert not (job / "metrics.json").exists()
    stderr = capsys.readouterr().err
    assert "choose another --job-dir and a lower learning_rate than 1.0 or mining=semi_hard" in (
        error_in(stderr)
    )
    return stderr


def test_a_run_that_collapses_is_warned_of_once_and_stopped(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = collapsing(features_dir, tmp_path / "job", capsys)
    warning = "warning: the embedding seems to collapse: "  # TensorFlow may have others here
    assert stderr.count(warning) == 1
    assert stderr.index("epoch 1/8") < stderr.index(warning) < stderr.index("epoch 3/8")
    assert "epoch 4/8" not in stderr


@pytest.mark.parametrize(
    "settings",
    [
        ("loss=vicreg", "learning_rate=0.1", "variance_weight=1e-6"),
        ("loss=byol", "learning_rate=0.1", "weight_decay=9"),  # of the weights a tenth stays
    ],
    ids=["vicreg", "byol"],
)
def test_a_collapse_without_opposites_is_seen(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: tuple[str]
) -> None:
    words = train_words(features_dir, tmp_path / "job", "encoder_depth=1", "epochs=8", *settings)
    assert main(words) == 1
    assert "the embedding has collapsed: projection_std " in error_in(capsys.readouterr().err)


@pytest.mark.slow
def test_a_collapsed_run_started_again_stops_again(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    collapsing(features_dir, tmp_path / "job", capsys)
    again = collapsing(features_dir, tmp_path / "job", capsys)
    assert "resuming from step 18 of 72" in again
