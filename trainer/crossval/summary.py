"""Scores of a cross-validation over all its folds, and their table for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dem.errors import InputError
from trainer.classify.coverage import describe_unseen
from trainer.classify.outputs import NO_INTERVAL, with_interval
from trainer.metrics.scores import score

_SENTENCES = {
    "inductive": "inductive: each encoder was trained without the audio that it is tested on",
    "transductive": "transductive: one encoder was trained on all audio, tests too, without labels",
}

_COLUMNS = {"accuracy": "accuracy", "macro-F1": "macro_f1", "5-NN accuracy": "knn_accuracy"}


def pooled_scores(
    predictions: pd.DataFrame, label_names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Score the predictions of all folds as one table, in which each recording is tested once.

    Args:
        predictions: columns ``recording_id``, ``label``, ``predicted``, ``knn_predicted``.
        label_names: in the order of the result; those that do not occur are no classes.
        seed: for the bootstrap over recordings.

    Returns:
        What `trainer.metrics.scores.score` does for the classifier, and ``knn_accuracy`` with its
        interval.

    Raises:
        InputError: a recording is in two folds.
    """
    twice = predictions["recording_id"][predictions["recording_id"].duplicated()]
    if len(twice):
        raise InputError(f"recording {twice.iloc[0]!r} is in two folds; make the features again")
    tested = {*predictions["label"], *predictions["predicted"], *predictions["knn_predicted"]}
    label_names = [name for name in label_names if name in tested]
    numbers = {name: index for index, name in enumerate(label_names)}
    truth, predicted, nearest = (
        predictions[column].map(numbers).to_numpy(np.int64)
        for column in ("label", "predicted", "knn_predicted")
    )
    rows, names = np.arange(len(truth)), tuple(label_names)
    knn = score(truth, nearest, rows, names, seed)
    return score(truth, predicted, rows, names, seed) | {
        "recordings": len(truth),
        "knn_accuracy": knn["accuracy"],
        "knn_accuracy_ci95": knn["accuracy_ci95"],
    }


def summary_table(summary: Mapping[str, Any]) -> str:
    """Lay out the scores over all folds, their means, and those of each evaluation partition.

    All recordings of the folds together are one row; papers report the mean over the folds.
    """
    runs = summary["runs"]
    recordings = max(run["folds"]["recordings"] for run in runs.values())
    intervals = any(run["folds"]["accuracy_ci95"] for run in runs.values())
    lines = [
        _SENTENCES[summary["mode"]],
        f"{recordings} recordings, each tested once; "
        f"{'95 % intervals over recordings' if intervals else NO_INTERVAL}",
        f"{'encoder-head':<22}" + "".join(f"{column:<22}" for column in _COLUMNS),
    ]
    for name, run in runs.items():
        lines += [_line(name, run["folds"]), _line("  mean over folds", run["mean_over_folds"])]
        lines += [
            _line(f"  {split}", scores["recording"])
            for split, scores in run["per_split"].items()
            if split.startswith("eval")
        ]
    lines += _unseen_lines(runs)
    return "\n".join(line.rstrip() for line in lines)


def _line(name: str, scores: Mapping[str, Any]) -> str:
    return f"{name:<22}" + "".join(f"{with_interval(scores, key):<22}" for key in _COLUMNS.values())


def _unseen_lines(runs: Mapping[str, Any]) -> list[str]:
    """Say which labels of a test the training of its split lacked; it is the same for all runs."""
    splits = {split: scores for run in runs.values() for split, scores in run["per_split"].items()}
    return [
        describe_unseen(scores["unseen_labels"], _recordings(scores["recording"]), [split])
        for split, scores in splits.items()
        if scores.get("unseen_labels")
    ]


def _recordings(scores: Mapping[str, Any]) -> int:
    return sum(one["support"] for one in scores["per_class"].values())
