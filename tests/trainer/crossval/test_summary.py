import pandas as pd
import pytest

from dem.errors import InputError
from tests.trainer.synthetic import LABELS
from trainer.crossval.summary import pooled_scores


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
