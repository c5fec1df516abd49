"""Any tree of audio files."""

import pytest

from beam_features.datasets.folder import list_recordings
from beam_features.plan import split_by_hash
from beam_features.schema.errors import InputError


@pytest.fixture
def tree(tmp_path):
    """Make empty files: the adapter reads no audio."""

    def tree(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        return str(tmp_path)

    return tree


def test_parent_directory_is_the_label(tree):
    root = tree("dog/1.wav", "rain/2.flac", "deep/er/cat/3.MP3")
    labels = {r.recording_id: r.label for r in list_recordings(root)}
    assert labels == {"dog/1.wav": "dog", "rain/2.flac": "rain", "deep/er/cat/3.MP3": "cat"}


def test_flat_files_have_no_label(tree):
    assert [r.label for r in list_recordings(tree("a.wav", "b.ogg"))] == [None, None]


@pytest.mark.parametrize("name", ["a [b]/c d.wav", "ünïcode/é ñ.wav", "100%/#1?.wav", "x*/y.wav"])
def test_unusual_names(tree, name):
    root = tree(name)
    (recording,) = list_recordings(root)
    assert recording.uri == f"{root}/{name}"
    assert recording.recording_id == recording.context_id == recording.session_id == name
    assert recording.label == name.split("/")[0]
    assert recording.partition == split_by_hash(name)
    assert (recording.sensor_id, recording.offset_s) == ("", 0.0)


def test_only_audio_is_listed_and_in_order(tree):
    root = tree("b.aiff", "a.opus", "c.au", "cover.jpg", "notes.txt", "wav", "x.wav.part", "d.w64")
    names = [r.recording_id for r in list_recordings(root)]
    assert names == ["a.opus", "b.aiff", "c.au", "d.w64"]


def test_trailing_slash_makes_no_difference(tree):
    root = tree("dog/1.wav")
    assert list_recordings(root + "/") == list_recordings(root)


@pytest.mark.parametrize("names", [[], ["notes.txt"]])
def test_tree_without_audio_is_refused(tree, names):
    root = tree(*names)
    with pytest.raises(InputError) as refusal:
        list_recordings(root)
    assert str(refusal.value) == (
        f"no audio files below {root!r}; --input takes a directory with files such as "
        ".wav, .flac, .ogg, .oga"
    )


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no audio files below '.*none'"):
        list_recordings(str(tmp_path / "none"))
