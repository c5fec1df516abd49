import io

import matplotlib.pyplot as plt
import numpy as np

from trainer.report import comparison_table, confusion_png


def scores(value: float) -> dict:
    interval = [value - 0.1, value + 0.05]
    return {
        "macro_f1": value,
        "macro_f1_ci95": interval,
        "accuracy": value,
        "accuracy_ci95": interval,
    }


def test_the_table_shows_scores_and_intervals() -> None:
    results = {"none-logistic": {"recording": scores(0.8), "tile": scores(0.7)}}
    _, header, row = comparison_table(results).splitlines()
    assert header.split() == ["encoder-head", *["macro-F1", "accuracy"] * 2]
    interval = ["0.800", "(0.700-0.850)"]
    assert row.split() == ["none-logistic", *interval, *interval, "0.700", "0.700"]


def test_a_cell_is_as_dark_as_its_share_of_the_true_class() -> None:
    """One class always right, the other one half: dark, white, two alike in between."""
    png = confusion_png(np.array([[40, 0], [2, 2]]), ("rare", "often"), "title")
    picture = plt.imread(io.BytesIO(png))[:, :, :3].mean(axis=2)
    shades, counts = np.unique(picture.round(2), return_counts=True)
    big = shades[counts > 0.05 * picture.size / 2]
    assert len(big) >= 3  # white (with the background), half, dark
    assert big.min() < 0.35
