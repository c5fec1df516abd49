from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from dem.errors import InputError
from tests.trainer.vectors import LABEL_NAMES, blobs, table
from trainer.classify.heads.logistic import LogisticHead
from trainer.classify.posteriors import per_recording, per_tile, posteriors_of
from trainer.classify.splits import session_splits
from trainer.config import ClassifyConfig
from trainer.data.vector_table import VectorTable


def fit(
    train: VectorTable,
    validation: VectorTable | None = None,
    strengths: tuple[float, ...] = (1.0,),
    level=per_recording,
) -> LogisticHead:
    config = ClassifyConfig(strengths=strengths)
    return LogisticHead.fit(train, validation, config, LABEL_NAMES, level)


def test_separable_classes_are_told_apart() -> None:
    head = fit(blobs(60, 0))
    posteriors = posteriors_of(head, blobs(60, 1))
    assert (posteriors.predicted == posteriors.truth).all()
    np.testing.assert_allclose(posteriors.probabilities.sum(axis=1), 1, rtol=1e-6)


def test_a_class_without_training_tiles_has_probability_zero() -> None:
    train = blobs(60, 0)
    head = fit(train.select(train.labels != 1))
    probabilities = posteriors_of(head, blobs(12, 1)).probabilities
    assert (probabilities[:, 1] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("level", [per_recording, per_tile])
def test_validation_chooses_the_strength_of_the_lowest_log_loss(level) -> None:
    train, validation = blobs(36, 0, spread=2, size=30), blobs(600, 1, spread=2, size=30)
    strengths = (1e3, 1e-1, 1e-5)
    losses = {}
    for strength in strengths:
        rows = level(posteriors_of(fit(train, None, (strength,)), validation))
        losses[strength] = log_loss(rows.truth, rows.probabilities)  # classes are equally frequent
    chosen = fit(train, validation, strengths, level).regularisation
    assert chosen == min(strengths, key=lambda strength: losses[strength]) == 0.1


def test_without_validation_the_mean_loss_of_held_out_sessions_chooses() -> None:
    """All strengths predict these rightly, which says nothing of how sure they should be."""
    train = blobs(60, 0)
    strengths = (1e-4, 1.0)
    held_out = [(fit(a, None, (c,)), b) for c in strengths for a, b in session_splits(train)]
    assert all((posteriors_of(*pair).predicted == pair[1].labels).all() for pair in held_out)
    assert fit(train, None, strengths).regularisation == 1.0


def test_rare_classes_count_as_much_as_frequent_ones() -> None:
    """90 tiles of class 0 and 10 of class 1, overlapping: balanced, the border is the middle."""
    rng = np.random.default_rng(0)
    labels = [0] * 900 + [1] * 100
    vectors = np.array(labels)[:, None] * 2.0 + rng.normal(size=(1000, 1))
    head = fit(table(labels, vectors))
    grid = table([0] * 401, np.linspace(-1, 3, 401)[:, None])
    predicted = posteriors_of(head, grid).predicted
    border = np.linspace(-1, 3, 401)[predicted.argmax()]
    assert border == pytest.approx(1, abs=0.15)


def test_saved_and_loaded_it_answers_alike(tmp_path: Path) -> None:
    head = fit(blobs(60, 0), blobs(12, 2), (1.0, 0.1))
    head.save(str(tmp_path / "head"))
    loaded = LogisticHead.load(str(tmp_path / "head"))
    vectors = blobs(12, 1).vectors
    np.testing.assert_array_equal(loaded.predict_proba(vectors), head.predict_proba(vectors))
    assert loaded.label_names == LABEL_NAMES
    assert loaded.regularisation == head.regularisation


def test_one_label_is_refused() -> None:
    with pytest.raises(InputError, match="one label, and a classifier needs two; choose other"):
        fit(table([1] * 6, np.eye(6)))
