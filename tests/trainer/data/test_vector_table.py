import numpy as np

from tests.trainer.vectors import blobs, table
from trainer.data.vector_table import VectorTable, recording_table


def test_tables_are_joined_in_order() -> None:
    one, other = blobs(12, 0), blobs(6, 1)
    joined = VectorTable.concatenate([VectorTable.empty(2), one, other])
    np.testing.assert_array_equal(joined.vectors, np.concatenate([one.vectors, other.vectors]))
    assert joined.recording_ids.tolist() == [*one.recording_ids, *other.recording_ids]
    assert joined.audible.dtype == np.bool_


def test_tiles_without_a_label_are_left_out() -> None:
    kept = table([0, -1, 2], np.eye(3)).labelled
    assert kept.labels.tolist() == [0, 2]
    assert kept.recording_ids.tolist() == ["r000", "r002"]


def test_a_recording_has_mean_maximum_and_deviation_of_its_audible_tiles() -> None:
    """b's second tile is silent and does not count; all of c is, so all of it does."""
    recordings = np.array(["b", "a", "b", "c", "b", "c"])
    labels = np.array([1, 0, 1, 2, 1, 2])
    tiles = VectorTable(
        vectors=np.array([[1, 5], [7, 7], [100, 100], [2, 4], [3, 1], [4, 0]], np.float32),
        recording_ids=recordings,
        context_ids=recordings,
        session_ids=recordings,
        start_ms=np.array([0, 0, 1000, 0, 2000, 1000]),
        labels=labels,
        audible=np.array([True, True, False, False, True, False]),
    )
    table = recording_table(tiles)
    assert table.recording_ids.tolist() == ["a", "b", "c"]
    assert table.labels.tolist() == [0, 1, 2]
    assert table.audible.tolist() == [True, True, False]
    expected = [[7, 7, 7, 7, 0, 0], [2, 3, 3, 5, 1, 2], [3, 2, 4, 4, 1, 2]]
    np.testing.assert_array_equal(table.vectors, expected)
