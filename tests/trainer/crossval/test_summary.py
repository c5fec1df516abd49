import pandas as pd
import pytest

from dem.errors import InputError
from tests.trainer.synthetic import LABELS
from trainer.crossval.summary import pooled_scores, summary_table


def predictions(ids: list[str]) -> pd.DataFrame:
    """Three right of four; the nearest neighbours are right twice."""
    return pd.DataFrame(
        {
            "recording_id": ids,
            "label": ["bell", "bell", "drum", "drum"],
            "predicted": ["bell", "drum", "drum", "drum"],
            "knn_predicted": ["bell", "drum", "drum", "flute"],
        }
    )


def test_pooled_scores_by_hand() -> None:
    """F1 of bell is 2/3, of drum 4/5; flute is nowhere and does not count."""
    scores = pooled_scores(predictions(["a", "b", "c", "d"]), LABELS, seed=0)
    assert scores["accuracy"] == 0.75
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores["knn_accuracy"] == 0.5
    assert scores["knn_accuracy_ci95"] is None


def test_a_recording_in_two_folds_is_refused() -> None:
    with pytest.raises(InputError, match="recording 'b' is in two folds"):
        pooled_scores(predictions(["a", "b", "c", "b"]), LABELS, seed=0)


def test_a_name_without_recordings_is_no_class() -> None:
    scores = pooled_scores(predictions(["a", "b", "c", "d"]), (*LABELS, "gone"), seed=0)
    assert list(scores["per_class"]) == ["bell", "drum", "flute"]


def made_split(unseen: dict[str, int]) -> dict:
    scores = pooled_scores(predictions(["a", "b", "c", "d"]), LABELS, seed=0)
    return {"recording": scores, "unseen_labels": unseen}


def test_the_table_names_labels_that_only_one_fold_has() -> None:
    folds = pooled_scores(predictions(["a", "b", "c", "d"]), LABELS, seed=0)
    means = {"accuracy": 0.7, "macro_f1": 0.6, "knn_accuracy": 0.4}
    splits = {"fold1": made_split({}), "fold2": made_split({"drum": 2})}
    run = {"folds": folds, "mean_over_folds": means, "per_split": splits}
    runs = {"none-logistic": run, "trained-logistic": run}
    lines = summary_table({"mode": "inductive", "runs": runs}).splitlines()
    assert lines[1].startswith("4 recordings, each tested once; no intervals below 10 test record")
    assert lines[3].split() == ["none-logistic", "0.750", "0.733", "0.500"]
    assert lines[4].split() == ["mean", "over", "folds", "0.700", "0.600", "0.400"]
    assert lines[7:] == [
        "no training recording has label 'drum': 2 of 4 recordings of fold2 can only be "
        "classified wrongly"
    ]


def test_each_evaluation_partition_has_a_line_of_its_own() -> None:
    scores = pooled_scores(predictions(["a", "b", "c", "d"]), LABELS, seed=0)
    known = {"accuracy": 0.9, "accuracy_ci95": [0.8, 1.0], "macro_f1": 0.85, "knn_accuracy": 0.8}
    splits = {
        "fold1": made_split({}),
        "eval-known": {"recording": known | {"macro_f1_ci95": [0.75, 0.95]}},
        "eval-unknown": {"recording": scores},
    }
    run = {"folds": scores, "mean_over_folds": scores, "per_split": splits}
    lines = summary_table({"mode": "inductive", "runs": {"none-logistic": run}}).splitlines()
    assert [line.split() for line in lines[5:]] == [
        ["eval-known", "0.900", "(0.800-1.000)", "0.850", "(0.750-0.950)", "0.800"],
        ["eval-unknown", "0.750", "0.733", "0.500"],
    ]
