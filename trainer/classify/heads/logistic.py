"""The head ``logistic``: logistic regression on standardised vectors."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import joblib
import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from dem import storage
from trainer.classify.posteriors import Posteriors, posteriors_of
from trainer.classify.splits import require_two_labels, session_splits
from trainer.config import ClassifyConfig
from trainer.data.vector_table import VectorTable
from trainer.model.vectors import Float32

_MAX_ITERATIONS = 2000
_TOLERANCE = 1e-3  # a fifth of the time of scikit-learn's 1e-4, weights within 0.5 % of it


@dataclass(frozen=True)
class LogisticHead:
    """A standardised logistic regression; see `trainer.classify.heads.FittedHead`."""

    pipeline: Pipeline
    label_names: tuple[str, ...]

    @property
    def regularisation(self) -> float:
        """Inverse regularisation strength."""
        return float(self.pipeline[-1].C)

    @classmethod
    def fit(
        cls,
        train: VectorTable,
        validation: VectorTable | None,
        config: ClassifyConfig,
        label_names: tuple[str, ...],
        level: Callable[[Posteriors], Posteriors],
    ) -> Self:
        """Fit to all of `train`; without `validation`, a cross-validation over sessions chooses.

        Raises:
            InputError: all training rows have the same label.
        """
        require_two_labels(train, label_names)
        splits = [(train, validation)] if validation else session_splits(train)

        def loss(strength: float) -> float:
            heads = [(cls(_fit(fitted, strength), label_names), held) for fitted, held in splits]
            return float(np.mean([level(posteriors_of(*pair)).log_loss for pair in heads]))

        chosen = min(config.strengths, key=loss) if splits else config.strengths[0]
        return cls(_fit(train, chosen), label_names)

    @classmethod
    def load(cls, stem: str) -> Self:
        """Load a pickle, which can run any code: use only files that you trust."""
        saved = joblib.load(io.BytesIO(storage.read_bytes(f"{stem}.joblib")))
        return cls(saved["classifier"], tuple(saved["label_names"]))

    def predict_proba(self, vectors: Float32) -> npt.NDArray[np.floating]:
        """Class probabilities ``[n, n_classes]``."""
        probabilities = np.zeros((len(vectors), len(self.label_names)))
        probabilities[:, self.pipeline.classes_] = self.pipeline.predict_proba(vectors)
        return probabilities

    def save(self, stem: str) -> None:
        """Write ``<stem>.joblib``."""
        buffer = io.BytesIO()
        joblib.dump({"classifier": self.pipeline, "label_names": self.label_names}, buffer)
        storage.write_bytes(f"{stem}.joblib", buffer.getvalue())


def _fit(train: VectorTable, strength: float) -> Pipeline:
    logistic = LogisticRegression(
        C=strength, class_weight="balanced", max_iter=_MAX_ITERATIONS, tol=_TOLERANCE
    )
    with threadpool_limits(1, "blas"):  # for such small products two threads take 10 x
        return make_pipeline(StandardScaler(), logistic).fit(train.vectors, train.labels)
