"""The classes of a run, and what is said of labels that lack recordings."""

from dataclasses import replace

import numpy as np

from trainer.classify.coverage import (
    count_recordings,
    describe_thin,
    describe_unseen,
    number_classes,
    quote_labels,
    unseen_labels,
)
from trainer.data.vector_table import VectorTable

NAMES = ("bell", "drum", "flute", "gong")


def rows_of(labels: list[int], recordings: str) -> VectorTable:
    """A row for each label and recording."""
    ids, zeros = np.array(list(recordings)), np.zeros(len(labels))
    return replace(
        VectorTable.empty(1).select(np.empty(0, int)),
        vectors=np.arange(len(labels), dtype=np.float32)[:, None],
        recording_ids=ids,
        context_ids=ids,
        session_ids=ids,
        start_ms=zeros.astype(int),
        labels=np.array(labels),
        audible=zeros == 0,
    )


def test_names_without_rows_are_no_classes() -> None:
    names, (train, test) = number_classes([rows_of([0, 3], "ab"), rows_of([3, 2], "cd")], NAMES)
    assert names == ("bell", "flute", "gong")
    assert train.labels.tolist() == [0, 2]
    assert test.labels.tolist() == [2, 1]
    assert train.recording_ids.tolist() == ["a", "b"]


def test_recordings_count_once_however_many_rows_they_have() -> None:
    counts = count_recordings(rows_of([0, 0, 2, 0, 2], "aabcb"), NAMES)
    assert counts == {"bell": 2, "drum": 0, "flute": 1, "gong": 0}


def test_labels_that_training_lacks_are_named_with_their_recordings() -> None:
    train = {"bell": 2, "drum": 1, "flute": 0, "gong": 0}
    test = {"bell": 1, "drum": 0, "flute": 3, "gong": 0}
    unseen = unseen_labels(train, test)
    assert unseen == {"flute": 3}
    assert describe_unseen(unseen, 4, ["fold1", "fold2"]) == (
        "no training recording has label 'flute': 3 of 4 recordings of fold1, fold2 can only be "
        "classified wrongly"
    )
    assert describe_thin(train, test) == [
        "one training recording only: label 'drum'",
        "no test recording, so no score: label 'drum'",
    ]
    assert describe_thin({"bell": 2}, {"bell": 1}) == []


def test_of_many_labels_a_few_are_named() -> None:
    assert quote_labels("abc") == "labels 'a', 'b', 'c'"
    assert quote_labels("abcd") == "labels 'a', 'b', 'c' and 1 other"
    assert quote_labels(map(str, range(100))) == "labels '0', '1', '2' and 97 others"
