from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss

from dem.errors import InputError
from tests.trainer.vectors import LABEL_NAMES, blobs, table
from trainer.classify.heads.dense import DenseHead
from trainer.classify.posteriors import per_recording, posteriors_of
from trainer.config import ClassifyConfig
from trainer.data.vector_table import VectorTable


def fit(
    train: VectorTable, validation: VectorTable | None = None, dropouts: tuple[float, ...] = (0.0,)
) -> DenseHead:
    config = ClassifyConfig(dropouts=dropouts)
    return DenseHead.fit(train, validation, config, LABEL_NAMES, per_recording)


def test_what_no_line_separates_is_told_apart() -> None:
    """Label 1 lies on both sides of label 0."""
    rng = np.random.default_rng(0)
    labels = (np.arange(400) // 2 % 2).tolist()
    side = np.array(labels) * rng.choice([-3, 3], 400)
    rows = table(labels, np.stack([side, rng.normal(size=400)], axis=1) + rng.normal(0, 0.3), 2)
    half = np.arange(400) < 200
    posteriors = posteriors_of(fit(rows.select(half)), rows.select(~half))
    assert np.mean(posteriors.predicted == posteriors.truth) > 0.98
    np.testing.assert_allclose(posteriors.probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.fixture(scope="module")
def head() -> DenseHead:
    return fit(blobs(60, 0), blobs(30, 2), (0.25,))


def test_the_same_seed_gives_the_same_network(head: DenseHead) -> None:
    other = fit(blobs(60, 0), blobs(30, 2), (0.25,))
    vectors = blobs(30, 1).vectors
    np.testing.assert_allclose(head.predict_proba(vectors), other.predict_proba(vectors), atol=1e-5)


def test_a_class_without_training_rows_has_probability_zero() -> None:
    """Also where validation rows have that class."""
    train = blobs(60, 0)
    head = fit(train.select(train.labels != 1), blobs(30, 2))
    probabilities = head.predict_proba(blobs(12, 1).vectors)
    assert (probabilities[:, 1] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


def test_validation_chooses_the_dropout_of_the_lowest_log_loss() -> None:
    train, validation = blobs(36, 0, spread=2, size=30), blobs(600, 1, spread=2, size=30)
    dropouts = (0.0, 0.5)

    def loss(head: DenseHead) -> float:
        rows = per_recording(posteriors_of(head, validation))
        return float(log_loss(rows.truth, rows.probabilities))

    chosen = fit(train, validation, dropouts)
    (rejected,) = set(dropouts) - {chosen.regularisation}
    assert loss(chosen) < loss(fit(train, validation, (rejected,)))


def test_what_never_changes_in_training_says_nothing() -> None:
    """A constant column that is another constant later; standardised by Keras it would explode."""
    train, test = blobs(60, 0, size=3), blobs(12, 1, size=3)
    train.vectors[:, 2] = 0
    head = fit(train)
    test.vectors[:, 2] = 1e-3
    assert (posteriors_of(head, test).predicted == test.labels).all()


def test_saved_and_loaded_it_answers_alike(head: DenseHead, tmp_path: Path) -> None:
    head.save(str(tmp_path / "head"))
    loaded = DenseHead.load(str(tmp_path / "head"))
    vectors = blobs(12, 1).vectors
    expected = head.predict_proba(vectors)
    np.testing.assert_allclose(loaded.predict_proba(vectors), expected, atol=1e-6)
    assert loaded.regularisation == 0.25


def test_one_session_is_refused_without_validation() -> None:
    with pytest.raises(InputError, match=r"of one session, .* name validation_partitions, or"):
        fit(blobs(2, 0))
