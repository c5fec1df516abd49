"""Scores of a classifier and how sure they are: pure functions of labels and predictions."""

from typing import Any

import numpy as np
import numpy.typing as npt

_RESAMPLES = 1000

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]


def confusion_matrices(truth: Ints, predicted: Ints, groups: Ints, n_classes: int) -> Ints:
    """Count truth (rows) against prediction (columns): ``[n_groups, n_classes, n_classes]``.

    Args:
        truth: ``[n]`` class indices.
        predicted: ``[n]`` class indices.
        groups: ``[n]`` from 0 to n_groups - 1: what is drawn together, such as a recording.
        n_classes: how many classes there are.
    """
    counts = np.zeros((int(groups.max()) + 1, n_classes, n_classes), np.int64)
    np.add.at(counts, (groups, truth, predicted), 1)
    return counts


def per_class_f1(confusion: npt.NDArray[Any]) -> Floats:
    """F1 ``[..., n_classes]`` of ``[..., n_classes, n_classes]``; NaN for classes nowhere seen."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    seen = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * hits / seen)  # 2 TP / (2 TP + FP + FN)


def macro_f1(confusion: npt.NDArray[Any]) -> Floats:
    """Mean F1 over the classes that occur as truth or as prediction."""
    return np.asarray(np.nanmean(per_class_f1(confusion), axis=-1))


def accuracy(confusion: npt.NDArray[Any]) -> Floats:
    """Share of the diagonal."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1).sum(axis=-1)
    return np.asarray(hits / confusion.sum(axis=(-2, -1)))


def score(
    truth: Ints, predicted: Ints, groups: Ints, label_names: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Score predictions, with 95 % bootstrap intervals over groups (the percentile method).

    Args:
        truth: ``[n]`` indices into `label_names`.
        predicted: likewise.
        groups: ``[n]`` from 0 to n_groups - 1; resamples draw whole groups.
        label_names: names of the classes.
        seed: for the resamples.

    Returns:
        ``macro_f1``, ``accuracy``, each with ``…_ci95``; ``per_class`` precision, recall, f1 and
        support.
    """
    parts = confusion_matrices(truth, predicted, groups, len(label_names))
    total = parts.sum(axis=0)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(parts), np.full(len(parts), 1 / len(parts)), _RESAMPLES)
    resampled = np.einsum("rg,gtp->rtp", weights, parts)
    scores: dict[str, Any] = {}
    for name, measure in (("macro_f1", macro_f1), ("accuracy", accuracy)):
        scores[name] = float(measure(total))
        scores[f"{name}_ci95"] = np.percentile(measure(resampled), [2.5, 97.5]).tolist()
    return scores | {"per_class": _per_class(total, label_names)}


def _per_class(confusion: Ints, label_names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    support, guesses = confusion.sum(axis=1), confusion.sum(axis=0)
    hits = np.diagonal(confusion)
    f1 = np.nan_to_num(per_class_f1(confusion))
    return {
        name: {
            "precision": float(hits[index] / max(guesses[index], 1)),
            "recall": float(hits[index] / max(support[index], 1)),
            "f1": float(f1[index]),
            "support": int(support[index]),
        }
        for index, name in enumerate(label_names)
    }
