"""A simple classifier on frozen vectors: fitted on tiles, asked about tiles and recordings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from beam_features.schema.errors import InputError
from trainer.embedding import VectorTable
from trainer.scores import count, macro_f1

_MOST_ITERATIONS = 2000
_FOLDS = 5
_TOLERANCE = 1e-3  # a fifth of the time of scikit-learn's 1e-4, weights within 0.5 % of it


@dataclass(frozen=True)
class Posteriors:
    """Class probabilities ``[n, n_classes]`` of tiles or recordings, and the truth ``[n]``."""

    probabilities: npt.NDArray[np.floating]
    truth: npt.NDArray[np.int64]
    recording_ids: npt.NDArray[np.str_]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class ``[n]``."""
        winners: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return winners


def labelled(tiles: VectorTable) -> VectorTable:
    """Leave out the tiles without a label."""
    return tiles.select(tiles.labels >= 0)


def fit_logistic(
    train: VectorTable, validation: VectorTable | None, strengths: Sequence[float], n_classes: int
) -> tuple[Pipeline, float]:
    """Fit a standardised logistic regression on the training tiles.

    The regularisation is the one of the highest macro-F1 per recording on the validation tiles;
    where there are none, in a cross-validation over the sessions of the training tiles.

    Args:
        train: labelled tiles; classes count alike, however many tiles they have.
        validation: labelled tiles, or None.
        strengths: inverse regularisation strengths to choose from; the first wins a tie.
        n_classes: how many classes there are.

    Returns:
        The classifier and the strength chosen.

    Raises:
        InputError: all training tiles have the same label.
    """
    if len(np.unique(train.labels)) < 2:
        raise InputError("the training tiles have one label; a classifier needs two")
    splits = [(train, validation)] if validation else _session_splits(train)

    def quality(strength: float) -> float:
        return float(np.mean([_macro_f1(_fit(a, strength), b, n_classes) for a, b in splits]))

    chosen = max(strengths, key=quality) if splits else strengths[0]
    return _fit(train, chosen), chosen


def _session_splits(tiles: VectorTable) -> list[tuple[VectorTable, VectorTable]]:
    """Split into parts to fit on and to measure on that share no session; none of one session."""
    n_splits = min(_FOLDS, len(np.unique(tiles.session_ids)))
    if n_splits < 2:
        return []
    rows = np.arange(len(tiles.labels))
    folds = GroupKFold(n_splits).split(rows, groups=tiles.session_ids)
    return [(tiles.select(np.isin(rows, a)), tiles.select(np.isin(rows, b))) for a, b in folds]


def _macro_f1(classifier: Pipeline, tiles: VectorTable, n_classes: int) -> float:
    recordings = per_recording(posteriors_of(classifier, tiles, n_classes))
    one_group = np.zeros(len(recordings.truth), np.int64)
    counts = count(recordings.truth, recordings.predicted, one_group, n_classes)
    return float(macro_f1(counts)[0])


def _fit(train: VectorTable, strength: float) -> Pipeline:
    logistic = LogisticRegression(
        C=strength, class_weight="balanced", max_iter=_MOST_ITERATIONS, tol=_TOLERANCE
    )

    return make_pipeline(StandardScaler(), logistic).fit(train.vectors, train.labels)


def posteriors_of(classifier: Pipeline, tiles: VectorTable, n_classes: int) -> Posteriors:
    """Class probabilities of tiles; a class that the classifier never saw has probability 0."""
    probabilities = np.zeros((len(tiles.labels), n_classes))
    probabilities[:, classifier.classes_] = classifier.predict_proba(tiles.vectors)
    return Posteriors(probabilities, tiles.labels, tiles.recording_ids)


def per_recording(tiles: Posteriors) -> Posteriors:
    """Mean of the tile posteriors of each recording, ordered by recording id."""
    names, first, rows = np.unique(tiles.recording_ids, return_index=True, return_inverse=True)
    sums = np.zeros((len(names), tiles.probabilities.shape[1]))
    np.add.at(sums, rows, tiles.probabilities)
    means = sums / np.bincount(rows)[:, None]
    return Posteriors(means, tiles.truth[first], names)
