import numpy as np

from tests.trainer.vectors import blobs
from trainer.classify.splits import balanced_weights, session_splits


def test_splits_share_no_session() -> None:
    train = blobs(60, 0)  # 30 recordings of two tiles, each a session
    splits = session_splits(train)
    assert len(splits) == 5
    for fit_on, measure_on in splits:
        assert not set(fit_on.session_ids) & set(measure_on.session_ids)
        assert len(fit_on.labels) + len(measure_on.labels) == 60
    measured = np.concatenate([part.recording_ids for _, part in splits])
    assert sorted(measured) == sorted(train.recording_ids)


def test_one_session_cannot_be_split() -> None:
    assert session_splits(blobs(2, 0)) == []


def test_classes_count_alike_and_rows_one_on_average() -> None:
    """6 rows of 3 classes: 1 of the first, 2 of the third, 3 of the last, none of the second."""
    weights = balanced_weights(np.array([1, 0, 2, 3]))
    np.testing.assert_allclose(weights, [2, 0, 1, 2 / 3], rtol=1e-6)
