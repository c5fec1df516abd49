from trainer.classify.outputs import comparison_table


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
