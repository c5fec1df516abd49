"""Scores of a classifier and their confidence intervals: pure functions of predictions."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LEAST_RECORDINGS = 10
"""With fewer groups, such as recordings, there is no interval: resamples would repeat a few."""

SCORES = (
    "macro-F1 is the mean F1 over the classes that some recording of the test has or is predicted\n"
    f"to have. The 95 % intervals are over recordings; below {LEAST_RECORDINGS} there are none."
)
"""What ``--help`` says of the scores."""

_RESAMPLES = 1000

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Counts:
    """Per class, ``[..., n_classes]``: correct predictions, occurrences as truth, as prediction."""

    hits: npt.NDArray[Any]
    truths: npt.NDArray[Any]
    guesses: npt.NDArray[Any]

    def weighted(self, weights: npt.NDArray[Any]) -> "Counts":
        """Sum groups with weights: ``[n, n_groups]`` times ``[n_groups, n_classes]``."""
        return Counts(weights @ self.hits, weights @ self.truths, weights @ self.guesses)


def count(truth: Ints, predicted: Ints, groups: Ints, n_classes: int) -> Counts:
    """Count per group: ``[n_groups, n_classes]``.

    Args:
        truth: ``[n]`` class indices.
        predicted: ``[n]`` class indices.
        groups: ``[n]`` from 0 to n_groups - 1: what is drawn together, such as a recording.
        n_classes: how many classes there are.
    """
    shape = (int(groups.max()) + 1, n_classes)
    hits, truths, guesses = np.zeros((3, *shape))
    right = truth == predicted
    np.add.at(hits, (groups[right], truth[right]), 1)
    np.add.at(truths, (groups, truth), 1)
    np.add.at(guesses, (groups, predicted), 1)
    return Counts(hits, truths, guesses)


def per_class_f1(counts: Counts) -> Floats:
    """F1 ``[..., n_classes]``; NaN for classes that do not occur."""
    with np.errstate(invalid="ignore"):
        return np.asarray(2 * counts.hits / (counts.truths + counts.guesses))


def macro_f1(counts: Counts) -> Floats:
    """Mean F1 over the classes that occur as truth or as prediction.

    A class that is only predicted has F1 0; one that does neither does not count. That is the
    macro-F1 of scikit-learn where it is given no labels.
    """
    return np.asarray(np.nanmean(per_class_f1(counts), axis=-1))


def accuracy(counts: Counts) -> Floats:
    """Share of correct predictions."""
    return np.asarray(counts.hits.sum(axis=-1) / counts.truths.sum(axis=-1))


def score(
    truth: Ints, predicted: Ints, groups: Ints, label_names: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Score predictions, with 95 % bootstrap intervals over groups (the percentile method).

    Args:
        truth: ``[n]`` indices into `label_names`.
        predicted: the same.
        groups: ``[n]`` from 0 to n_groups - 1; resamples draw whole groups.
        label_names: names of the classes.
        seed: for the resamples.

    Returns:
        ``macro_f1``, ``accuracy``, each with ``…_ci95``, None below 10 groups; ``per_class``
        precision, recall, f1 and support.
    """
    parts = count(truth, predicted, groups, len(label_names))
    n_groups = len(parts.hits)
    total = parts.weighted(np.ones(n_groups))
    resampled = _resample(parts, seed) if n_groups >= LEAST_RECORDINGS else None
    scores: dict[str, Any] = {}
    for name, measure in (("macro_f1", macro_f1), ("accuracy", accuracy)):
        scores[name] = float(measure(total))
        scores[f"{name}_ci95"] = (
            None if resampled is None else np.percentile(measure(resampled), [2.5, 97.5]).tolist()
        )
    return scores | {"per_class": _per_class(total, label_names)}


def _resample(parts: Counts, seed: int) -> Counts:
    """Draw as many groups with replacement, again and again: ``[draws, n_classes]``."""
    n_groups = len(parts.hits)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), _RESAMPLES)
    return parts.weighted(draws.astype(np.float64))


def _per_class(counts: Counts, label_names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    f1 = np.nan_to_num(per_class_f1(counts))
    return {
        name: {
            "precision": float(counts.hits[index] / max(counts.guesses[index], 1)),
            "recall": float(counts.hits[index] / max(counts.truths[index], 1)),
            "f1": float(f1[index]),
            "support": int(counts.truths[index]),
        }
        for index, name in enumerate(label_names)
    }
