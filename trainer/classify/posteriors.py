"""Class probabilities of tiles and of recordings."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from trainer.data.vector_table import Float32, VectorTable
from trainer.metrics.scores import count, macro_f1


class Classifier(Protocol):
    """A source of class probabilities."""

    def predict_proba(self, vectors: Float32) -> npt.NDArray[np.floating]:
        """Class probabilities ``[n, n_classes]``; 0 for a class without training rows."""


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

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that occur."""
        one_group = np.zeros(len(self.truth), np.int64)
        counts = count(self.truth, self.predicted, one_group, self.probabilities.shape[1])
        return float(macro_f1(counts)[0])


def posteriors_of(classifier: Classifier, rows: VectorTable) -> Posteriors:
    """Apply a classifier to each row."""
    return Posteriors(classifier.predict_proba(rows.vectors), rows.labels, rows.recording_ids)


def per_tile(tiles: Posteriors) -> Posteriors:
    """Posteriors of tiles as they are; the counterpart of `per_recording`."""
    return tiles


def per_recording(tiles: Posteriors) -> Posteriors:
    """Mean of the tile posteriors of each recording, ordered by recording id.

    A recording of several channels has the tiles of all of them.
    """
    names, first, rows = np.unique(tiles.recording_ids, return_index=True, return_inverse=True)
    sums = np.zeros((len(names), tiles.probabilities.shape[1]))
    np.add.at(sums, rows, tiles.probabilities)
    means = sums / np.bincount(rows)[:, None]
    return Posteriors(means, tiles.truth[first], names)
