from dataclasses import replace

import numpy as np

from trainer.classify.outputs import _classification_report, comparison_table
from trainer.classify.posteriors import Posteriors


def scores(value: float) -> dict:
    interval = [value - 0.1, value + 0.05]
    return {
        "macro_f1": value,
        "macro_f1_ci95": interval,
        "accuracy": value,
        "accuracy_ci95": interval,
    }


def test_the_table_shows_scores_and_intervals() -> None:
    results = {
        "none-logistic": {"recording": scores(0.8), "tile": scores(0.7)},
        "trained-logistic": {"recording": scores(0.8), "tile": scores(0.7), "transductive": True},
    }
    _, header, row, transductive = comparison_table(results).splitlines()
    assert header.split() == ["encoder-head", *["macro-F1", "accuracy"] * 2]
    interval = ["0.800", "(0.700-0.850)"]
    assert row.split() == ["none-logistic", *interval, *interval, "0.700", "0.700"]
    assert transductive.split()[-2:] == ["0.700", "transductive"]


def test_without_intervals_the_table_says_why() -> None:
    few = scores(0.8) | {"macro_f1_ci95": None, "accuracy_ci95": None}
    lines = comparison_table({"none-logistic": {"recording": few, "tile": few}}).splitlines()
    assert lines[2].split() == ["none-logistic", "0.800", "0.800", "0.800", "0.800"]
    assert lines[3:] == ["no intervals below 10 test recordings: they would mean little"]


def test_the_report_averages_over_the_classes_of_the_macro_f1() -> None:
    """Truth a a b, predicted a c b. F1: a 2/3, b 1, c, only predicted, 0; d does not count."""
    chosen = np.eye(4)[[0, 2, 1]]
    posteriors = Posteriors(
        chosen, np.array([0, 0, 1]), np.array(["r", "s", "t"]), np.ones(3, np.bool_)
    )
    report = _classification_report(posteriors, "abcd")
    rows = {line.split()[0]: line.split() for line in report.splitlines() if line}
    assert [row for row in rows if len(row) == 1] == ["a", "b", "c"]
    assert rows["macro"][4] == f"{(2 / 3 + 1 + 0) / 3:.3f}"
    assert report.splitlines()[-1] == "neither tested nor predicted: label 'd'"
    all_four = replace(posteriors, probabilities=np.eye(4)[[0, 3, 2]])
    assert "neither" not in _classification_report(all_four, "abcd")
