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
    run = {"folds": folds, "per_split": {"fold1": made_split({}), "fold2": made_split({"drum": 2})}}
    runs = {"none-logistic": run, "trained-logistic": run}
    lines = summary_table({"mode": "inductive", "runs": runs}).splitlines()
    assert lines[1].startswith("4 recordings, each tested once; no intervals below 10 test record")
    assert lines[3].split() == ["none-logistic", "0.750", "0.733", "0.500"]
    assert lines[5:] == [
        "no training recording has label 'drum': 2 of 4 recordings of fold2 can only be "
        "classified wrongly"
    ]
