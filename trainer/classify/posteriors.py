"""Class probabilities of tiles and of recordings."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from beam_features.schema.song_vector import pooled_tiles
from trainer.data.vector_table import Float32, VectorTable

_LEAST_PROBABILITY = 1e-15  # a class without training rows has 0, and no loss is infinite


class Classifier(Protocol):
    """A source of class probabilities."""

    def predict_proba(self, vectors: Float32) -> npt.NDArray[np.floating]:
        """Class probabilities ``[n, n_classes]``; 0 for a class without training rows."""


@dataclass(frozen=True)
class Posteriors:
    """Class probabilities ``[n, n_classes]`` of tiles or recordings, and what each row is."""

    probabilities: npt.NDArray[np.floating]
    truth: npt.NDArray[np.int64]
    recording_ids: npt.NDArray[np.str_]
    audible: npt.NDArray[np.bool_]

    @property
    def predicted(self) -> npt.NDArray[np.int64]:
        """Most probable class ``[n]``."""
        winners: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return winners

    @property
    def log_loss(self) -> float:
        """Mean negative logarithm of the truth's probability; classes that occur count equally."""
        of_truth = self.probabilities[np.arange(len(self.truth)), self.truth]
        losses = -np.log(np.maximum(of_truth, _LEAST_PROBABILITY))
        classes = np.unique(self.truth)
        return float(np.mean([losses[self.truth == label].mean() for label in classes]))


def posteriors_of(classifier: Classifier, rows: VectorTable) -> Posteriors:
    """Apply a classifier to each row."""
    probabilities = classifier.predict_proba(rows.vectors)
    return Posteriors(probabilities, rows.labels, rows.recording_ids, rows.audible)


def per_tile(tiles: Posteriors) -> Posteriors:
    """Posteriors of tiles as they are; the counterpart of `per_recording`."""
    return tiles


def per_recording(tiles: Posteriors) -> Posteriors:
    """Mean posteriors of each recording's tiles that `pooled_tiles` chooses, ordered by its id.

    A recording of several channels has the tiles of all of them.
    """
    names, first, rows = np.unique(tiles.recording_ids, return_index=True, return_inverse=True)
    sums = np.zeros((len(names), tiles.probabilities.shape[1]))
    used = pooled_tiles(rows, tiles.audible)
    np.add.at(sums, rows[used], tiles.probabilities[used])
    means = sums / np.bincount(rows[used])[:, None]
    return Posteriors(means, tiles.truth[first], names, np.bincount(rows, tiles.audible) > 0)
