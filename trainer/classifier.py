"""A simple classifier on frozen vectors: fitted on tiles, asked about tiles and recordings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.embedding import TileTable
from trainer.scores import confusion_matrices, macro_f1

_MOST_ITERATIONS = 2000


@dataclass(frozen=True)
class Posteriors:
    """Class probabilities ``[n, n_classes]`` of tiles or recordings, and the truth ``[n]``."""

    probabilities: npt.NDArray[np.floating]
    truth: npt.NDArray[np.int64]
    recording_ids: npt.NDArray[np.str_]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class ``[n]``."""
        return self.probabilities.argmax(axis=1)


def labelled(tiles: TileTable) -> TileTable:
    """Leave out the tiles without a label."""
    return tiles.select(tiles.labels >= 0)


def fit_logistic(
    train: TileTable, validation: TileTable | None, strengths: Sequence[float], n_classes: int
) -> tuple[Pipeline, float]:
    """Fit a standardised logistic regression, its regularisation chosen on the validation tiles.

    Args:
        train: labelled tiles to fit on; classes count alike, however many tiles they have.
        validation: labelled tiles on which macro-F1 per recording chooses; None: `strengths[0]`.
        strengths: inverse regularisation strengths to choose from, the first wins a tie.
        n_classes: how many classes there are.

    Returns:
        The classifier and the strength chosen.
    """
    if validation is None:
        return _fit(train, strengths[0]), strengths[0]
    fitted = {strength: _fit(train, strength) for strength in strengths}

    def validated(strength: float) -> float:
        posteriors = per_recording(posteriors_of(fitted[strength], validation, n_classes))
        one_group = np.zeros(len(posteriors.truth), np.int64)
        return float(
            macro_f1(
                confusion_matrices(posteriors.truth, posteriors.predicted, one_group, n_classes)[0]
            )
        )

    best = max(strengths, key=validated)
    return fitted[best], best


def _fit(train: TileTable, strength: float) -> Pipeline:
    logistic = LogisticRegression(
        C=strength, class_weight="balanced", max_iter=_MOST_ITERATIONS
    )
    return make_pipeline(StandardScaler(), logistic).fit(train.vectors, train.labels)


def posteriors_of(classifier: Pipeline, tiles: TileTable, n_classes: int) -> Posteriors:
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
