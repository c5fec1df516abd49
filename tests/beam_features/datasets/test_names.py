"""Names and labels in one form."""

import pytest

from beam_features.datasets.names import (
    Notes,
    alike,
    fault_of_partition,
    is_inside,
    normalise,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dog", "dog"),
        (" dog\t", "dog"),
        ("\u00a0dog\u3000", "dog"),
        ("\ufeff \u200bdog \u2060", "dog"),
        ("cafe\u0301", "caf\xe9"),
        ("big  dog", "big  dog"),
        ("one\r\ntwo", "one two"),
        (" \u200b\n", ""),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected
    assert normalise(expected) == expected


def test_notes_count_what_changed_by_column():
    notes = Notes()
    assert [notes.clean("label", text) for text in ("dog", " dog", "dog ", " ", "")] == [
        *("dog", "dog", "dog", "", "")
    ]
    notes.clean("artist", "cafe\u0301")
    notes.add("something else")
    assert notes.lines() == (
        "something else",
        "label: 2 rows normalised, such as ' dog' to 'dog'",
        r"artist: 1 row normalised, such as 'cafe\u0301' to 'caf\xe9'",
    )


@pytest.mark.parametrize("name", ["fold1", "train", "eval-known", "a.b_c", "训练", "1"])
def test_names_that_partitions_may_have(name):
    assert fault_of_partition(name) is None


@pytest.mark.parametrize("name", ["", "-a", "..", ".a", "a/b", "a b", "a*", "fold1\n", "x" * 101])
def test_names_that_partitions_may_not_have(name):
    assert fault_of_partition(name)


def test_paths_that_stay_inside():
    inside = ["a.wav", "sub/a.wav", "..a.wav", "a..wav", "ü [1].wav"]
    outside = ["", "..", "../a.wav", "sub/../a.wav", "/a.wav", "a//b.wav", "sub/", "./a.wav"]
    assert all(map(is_inside, inside))
    assert not any(map(is_inside, [*outside, "a\\b.wav", "gs://bucket/a.wav", "C:\\a.wav"]))


def test_names_that_differ_only_by_case():
    assert alike("labels", ["Dog", "cat", "dog", "Straße", "STRASSE"]) == [
        "labels that differ only by case: 'Dog', 'dog'; they stay apart",
        "labels that differ only by case: 'STRASSE', 'Straße'; they stay apart",
    ]
