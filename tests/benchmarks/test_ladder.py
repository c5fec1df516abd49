"""The ladder's table: against scikit-learn, and the command on two folds of synthetic songs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from benchmarks.ladder import gains_row, resampled_scores, scores_row
from tests.processes import run
from tests.trainer.synthetic import write_features

FOLDS = ("fold1", "fold2")
SETTINGS = ("batch_size=8", "epochs=1", "steps_per_epoch=2", "embedding_size=8", "encoder=dense")


def predictions(n: int, right: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.array(["rain", "saw", "sea"])[np.arange(n) % 3]

    def guess() -> np.ndarray:
        return np.where(rng.random(n) < right, label, rng.choice(["rain", "saw", "sea"], n))

    return pd.DataFrame({"label": label, "predicted": guess(), "knn_predicted": guess()})


def test_scores_are_those_of_scikit_learn_for_all_recordings_and_for_resamples() -> None:
    tables = [predictions(40, 0.7, seed) for seed in (1, 2)]
    scores = resampled_scores(tables)
    rows = np.vstack([np.arange(40), np.random.default_rng(0).integers(0, 40, (2000, 40))])
    for index in (0, 1, 2, 1999, 2000):
        for seed, table in enumerate(tables):
            drawn = table.iloc[rows[index]]
            logistic, f1, knn = (of_measure[seed, index] for of_measure in scores)
            assert logistic == pytest.approx(accuracy_score(drawn["label"], drawn["predicted"]))
            assert f1 == pytest.approx(
                f1_score(drawn["label"], drawn["predicted"], average="macro")
            )
            assert knn == pytest.approx(accuracy_score(drawn["label"], drawn["knn_predicted"]))
    assert {of_measure.shape for of_measure in scores} == {(2, 2001)}


def test_a_row_has_means_over_seeds_intervals_and_the_range_of_the_seeds() -> None:
    scores = [np.array([[0.8, 0.7, 0.9], [0.9, 0.8, 1.0]])] * 3
    cell = "0.850 (0.755–0.945), seeds 0.800–0.900"
    assert (
        scores_row("T9", "inductive", scores)
        == f"| T9 | inductive | 2 | {cell} | {cell} | {cell} |"
    )
    single = [np.array([[0.5, 0.5, 0.5]])] * 3
    assert scores_row("T9", "inductive", single).count("0.500 (0.500–0.500) |") == 3


def test_gains_are_paired_over_recordings() -> None:
    """What is always two points better is so surely, however much both depend on the draw."""
    other = [np.array([[0.80, 0.60, 0.99]])] * 3
    ours = [of_measure + 0.02 for of_measure in other]
    cell = "+2.0 (+2.0 to +2.0)"
    assert (
        gains_row("T1", "inductive", ours, other)
        == f"| T1 | inductive | {cell} | {cell} | {cell} |"
    )


@pytest.mark.slow
def test_the_command_prints_what_the_runs_scored(tmp_path: Path) -> None:
    data = write_features(tmp_path / "features", dict.fromkeys(FOLDS, 6))
    job = tmp_path / "ladder"
    words = ("--data", data, "--job-dir", job, "--seeds", 0, 1, "--rungs", "T1", "T2", "T3")
    finished = run(
        "benchmarks.ladder", *words, "--modes", "inductive", "--set", *SETTINGS, timeout_s=900
    )
    assert finished.returncode == 0, finished.stderr
    table, gains = finished.stdout.split("\n\n")[1], finished.stdout.split("\n\n")[3]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert [row[:3] for row in rows[2:]] == [
        ["T1 untrained encoder", "inductive", "2"],
        ["T2 original recipe", "inductive", "2"],
        ["T3 ours", "inductive", "2"],
    ]
    for row, recipe, encoder in (
        (rows[2], "ours", "random"),
        (rows[3], "original", "trained"),
        (rows[4], "ours", "trained"),
    ):
        accuracies = [
            accuracy_score(seen["label"], seen["predicted"])
            for seed in (0, 1)
            for seen in [_read(job / f"{recipe}-seed{seed}", f"{encoder}-logistic")]
        ]
        assert row[3].startswith(f"{np.mean(accuracies):.3f} (")
        assert row[3].endswith(f"seeds {min(accuracies):.3f}–{max(accuracies):.3f}")
    assert [line.split("|")[1].strip() for line in gains.splitlines()[2:]] == [
        "T1 untrained encoder",
        "T2 original recipe",
    ]


def _read(job: Path, run_name: str) -> pd.DataFrame:
    home = job / "inductive" / "classifiers"
    return pd.concat(pd.read_csv(home / fold / run_name / "predictions.csv") for fold in FOLDS)
