import numpy as np
import pytest
from sklearn.metrics import f1_score

from trainer.classifier import (
    _session_splits,
    fit_logistic,
    labelled,
    per_recording,
    posteriors_of,
)
from trainer.embedding import VectorTable


def table(labels: list[int], vectors: np.ndarray, tiles_per_recording: int = 1) -> VectorTable:
    recordings = np.array([f"r{i // tiles_per_recording:03d}" for i in range(len(labels))])
    return VectorTable(
        vectors=vectors.astype(np.float32),
        recording_ids=recordings,
        context_ids=recordings,
        session_ids=recordings,
        start_ms=np.zeros(len(labels), np.int64),
        labels=np.array(labels, np.int64),
        audible=np.ones(len(labels), np.bool_),
    )


def blobs(n: int, seed: int, spread: float = 0.3, size: int = 2) -> VectorTable:
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) // 2 % 3).tolist()  # two tiles per recording
    centres = np.eye(3, size) * 3
    return table(labels, centres[labels] + rng.normal(0, spread, (n, size)), 2)


def test_separable_classes_are_told_apart() -> None:
    classifier, _ = fit_logistic(blobs(60, 0), None, [1.0], 3)
    posteriors = posteriors_of(classifier, blobs(60, 1), 3)
    assert (posteriors.predicted == posteriors.truth).all()
    np.testing.assert_allclose(posteriors.probabilities.sum(axis=1), 1, rtol=1e-6)


def test_a_recording_has_the_mean_of_its_tiles() -> None:
    classifier, _ = fit_logistic(blobs(60, 0), None, [1.0], 3)
    tiles = posteriors_of(classifier, blobs(12, 1), 3)
    recordings = per_recording(tiles)
    assert recordings.recording_ids.tolist() == [f"r{i:03d}" for i in range(6)]
    assert recordings.truth.tolist() == [0, 1, 2, 0, 1, 2]
    means = tiles.probabilities.reshape(6, 2, 3).mean(axis=1)
    np.testing.assert_allclose(recordings.probabilities, means)


def test_a_class_without_training_tiles_has_probability_zero() -> None:
    train = blobs(60, 0)
    classifier, _ = fit_logistic(train.select(train.labels != 1), None, [1.0], 3)
    probabilities = posteriors_of(classifier, blobs(12, 1), 3).probabilities
    assert (probabilities[:, 1] == 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_validation_chooses_the_strength_of_the_highest_macro_f1() -> None:
    train, validation = blobs(36, 0, spread=2, size=30), blobs(600, 1, spread=2, size=30)
    strengths = [1e3, 1e-1, 1e-5]
    quality = {}
    for strength in strengths:
        classifier, _ = fit_logistic(train, None, [strength], 3)
        recordings = per_recording(posteriors_of(classifier, validation, 3))
        quality[strength] = f1_score(recordings.truth, recordings.predicted, average="macro")
    assert len(set(quality.values())) > 1
    _, chosen = fit_logistic(train, validation, strengths, 3)
    assert chosen == max(strengths, key=lambda strength: quality[strength])


def test_without_validation_the_splits_share_no_session() -> None:
    train = blobs(60, 0)  # 30 recordings of two tiles, each a session
    splits = _session_splits(train)
    assert len(splits) == 5
    for fit_on, measure_on in splits:
        assert not set(fit_on.session_ids) & set(measure_on.session_ids)
        assert len(fit_on.labels) + len(measure_on.labels) == 60
    measured = np.concatenate([part.recording_ids for _, part in splits])
    assert sorted(measured) == sorted(train.recording_ids)


def test_rare_classes_count_as_much_as_frequent_ones() -> None:
    """90 tiles of class 0 and 10 of class 1, overlapping: balanced, the border is the middle."""
    rng = np.random.default_rng(0)
    labels = [0] * 900 + [1] * 100
    vectors = np.array(labels)[:, None] * 2.0 + rng.normal(size=(1000, 1))
    classifier, _ = fit_logistic(table(labels, vectors), None, [1.0], 2)
    grid = table([0] * 401, np.linspace(-1, 3, 401)[:, None])
    predicted = posteriors_of(classifier, grid, 2).predicted
    border = np.linspace(-1, 3, 401)[predicted.argmax()]
    assert border == pytest.approx(1, abs=0.15)


def test_tiles_without_a_label_are_left_out() -> None:
    kept = labelled(table([0, -1, 2], np.eye(3)))
    assert kept.labels.tolist() == [0, 2]
    assert kept.recording_ids.tolist() == ["r000", "r002"]
