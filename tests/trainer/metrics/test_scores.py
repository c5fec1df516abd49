import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_recall_fscore_support

from trainer.metrics.scores import count, macro_f1, score

NAMES = ("a", "b", "c", "d")


def noisy_predictions(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(4, n, p=[0.5, 0.3, 0.15, 0.05])
    return truth, np.where(rng.random(n) < 0.7, truth, rng.integers(0, 4, n))


def test_scores_equal_scikit_learn() -> None:
    truth, predicted = noisy_predictions(300)
    scores = score(truth, predicted, np.arange(300), NAMES, seed=0)
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted)
    for index, name in enumerate(NAMES):
        expected = {
            "precision": precision[index],
            "recall": recall[index],
            "f1": f1[index],
            "support": support[index],
        }
        assert scores["per_class"][name] == pytest.approx(expected)


def test_a_class_that_is_nowhere_does_not_count() -> None:
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    scores = score(truth, predicted, np.arange(4), NAMES, seed=0)
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["per_class"]["d"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    """F1 of a: 2 * 2 / (3 + 2) = 4/5; of b: 2 * 1 / (1 + 1) = 1; of c, never the truth: 0."""
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 1])
    scores = score(truth, predicted, np.arange(4), NAMES, seed=0)
    assert scores["macro_f1"] == pytest.approx((4 / 5 + 1 + 0) / 3)
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))


@pytest.mark.parametrize(("recordings", "has_interval"), [(9, False), (10, True)])
def test_no_interval_of_few_recordings(recordings: int, *, has_interval: bool) -> None:
    """However many tiles they have."""
    groups = np.repeat(np.arange(recordings), 20)
    truth = groups % 4
    scores = score(truth, np.zeros_like(truth), groups, NAMES, seed=0)
    for name in ("macro_f1_ci95", "accuracy_ci95"):
        assert (scores[name] is not None) == has_interval


def test_interval_of_the_accuracy_is_that_of_a_binomial_share() -> None:
    """400 recordings, 80 % right: 1.96 * sqrt(0.8 * 0.2 / 400) = 0.039 to either side."""
    truth = np.zeros(400, int)
    predicted = (np.arange(400) % 5 == 0).astype(int)
    low, high = score(truth, predicted, np.arange(400), NAMES, seed=0)["accuracy_ci95"]
    assert low == pytest.approx(0.8 - 0.039, abs=0.006)
    assert high == pytest.approx(0.8 + 0.039, abs=0.006)


def test_tiles_of_a_recording_are_drawn_together() -> None:
    """25 tiles per recording say no more than one: the interval is that of 400 recordings."""
    truth = np.zeros(10_000, int)
    recordings = np.repeat(np.arange(400), 25)
    predicted = (recordings % 5 == 0).astype(int)
    low, high = score(truth, predicted, recordings, NAMES, seed=0)["accuracy_ci95"]
    assert high - low == pytest.approx(2 * 0.039, abs=0.012)


def test_intervals_depend_on_the_seed_alone() -> None:
    truth, predicted = noisy_predictions(60)
    first, again, other = (score(truth, predicted, np.arange(60), NAMES, s) for s in (1, 1, 2))
    assert first == again
    assert first["macro_f1_ci95"] != other["macro_f1_ci95"]


def test_macro_f1_of_many_groups_is_that_of_each() -> None:
    truth, predicted = noisy_predictions(90)
    parts = count(truth, predicted, np.arange(90) // 30, 4)
    expected = [
        f1_score(truth[rows], predicted[rows], average="macro")
        for rows in (slice(0, 30), slice(30, 60), slice(60, 90))
    ]
    np.testing.assert_allclose(macro_f1(parts), expected)


def test_hundreds_of_classes_are_no_burden() -> None:
    """A confusion matrix per recording would take 8 GB."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 1000, 1000)
    names = tuple(map(str, range(1000)))
    scores = score(truth, truth, np.arange(1000), names, seed=0)
    assert scores["macro_f1"] == scores["accuracy"] == 1
