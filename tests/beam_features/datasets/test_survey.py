"""From the name of a dataset to its listing."""

import sys
import types

import pytest

from beam_features.datasets.survey import survey
from beam_features.recording import Listing, Recording
from dem.errors import InputError


@pytest.fixture
def adapter(monkeypatch, tmp_path):
    """Make ``own:list_recordings`` return recordings of these partitions, labels and files."""

    def adapter(*places, uri=None):
        recordings = tuple(
            Recording(str(k), uri or str(tmp_path), label, partition, str(k), str(k))
            for k, (partition, label) in enumerate(places)
        )
        own = types.ModuleType("own")
        own.list_recordings = lambda _: Listing(recordings)
        monkeypatch.setitem(sys.modules, "own", own)
        return "own:list_recordings"

    return adapter


def refusal_of(dataset, source, depth=None):
    with pytest.raises(InputError) as refusal:
        survey(dataset, source, depth)
    return str(refusal.value)


def test_depth_of_the_label_is_of_folder(tmp_path):
    (tmp_path / "A/B").mkdir(parents=True)
    (tmp_path / "A/B/1.wav").write_bytes(b"RIFF")
    labels = [survey("folder", str(tmp_path), depth).recordings[0].label for depth in (None, 1)]
    assert labels == ["A/B", "A"]
    assert refusal_of("sample", "sample:0", 1) == (
        "label_depth=1 is a setting of --dataset folder, not of 'sample'; remove it"
    )


def test_partitions_of_any_adapter_are_checked(adapter):
    assert refusal_of(adapter(("fold1", None), ("a/b", None)), ".") == (
        "partition 'a/b' may only have letters, digits, '_', '-', '.'"
    )


def test_labels_and_partitions_that_differ_by_case_are_remarked(adapter):
    assert survey(adapter(("train", "Dog"), ("Train", "dog"), ("test", None)), ".").remarks == (
        "labels that differ only by case: 'Dog', 'dog'; they stay apart",
        "partitions that differ only by case: 'Train', 'train'; they stay apart",
    )


def test_listing_of_which_no_file_exists_is_refused(adapter):
    assert refusal_of(adapter(("train", None), ("test", None), uri="/none/a.wav"), "here") == (
        "none of the 2 audio files that 'here' lists exists, such as '/none/a.wav'; check --input"
    )
    remote = adapter(("train", None), uri="gs://bucket/a.wav")
    assert len(survey(remote, "here").recordings) == 1
