"""Any tree of audio files."""

import os

import pytest

from beam_features.__main__ import main
from beam_features.datasets.folder import list_recordings
from beam_features.datasets.split import split
from beam_features.recording import Rejection
from beam_features.schema.audio.files import AUDIO_SUFFIXES
from beam_features.schema.dataset_info import parse_dataset_info
from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Possible nested set:FutureWarning")


@pytest.fixture
def tree(tmp_path):
    """Make files of four bytes below ``tmp_path/root``: the adapter reads no audio."""
    root = tmp_path / "root"
    root.mkdir()

    def tree(*names):
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(b"RIFF")
        return str(root)

    return tree


def names_of(root):
    return [recording.recording_id for recording in list_recordings(root).recordings]


@pytest.mark.parametrize(
    ("depth", "labels"),
    [
        (None, ["A/Album 1", "A/Album 1", "B/Album 1", "B/Album 2/Disc 2", "C", None]),
        (1, ["A", "A", "B", "B", "C", None]),
        (2, ["A/Album 1", "A/Album 1", "B/Album 1", "B/Album 2", "C", None]),
        (9, ["A/Album 1", "A/Album 1", "B/Album 1", "B/Album 2/Disc 2", "C", None]),
    ],
)
def test_directories_are_the_label(tree, depth, labels):
    """Albums of two artists that have one title stay apart, unless the depth is 1."""
    root = tree(
        "A/Album 1/1.wav",
        "A/Album 1/2.wav",
        "B/Album 1/1.MP3",
        "B/Album 2/Disc 2/1.flac",
        "C/1.wav",
        "z.wav",
    )
    assert [r.label for r in list_recordings(root, depth).recordings] == labels


def test_directories_that_differ_in_blanks_or_unicode_form_are_one_label(tree):
    root = tree("caf\xe9/1.wav", "cafe\u0301/2.wav", " dog/a/3.wav", "dog/a /4.wav")
    listing = list_recordings(root)
    labels = {r.recording_id: r.label for r in listing.recordings}
    assert labels == {
        "caf\xe9/1.wav": "caf\xe9",
        "cafe\u0301/2.wav": "caf\xe9",
        " dog/a/3.wav": "dog/a",
        "dog/a /4.wav": "dog/a",
    }
    assert listing.remarks == ("label: 3 recordings normalised, such as ' dog/a' to 'dog/a'",)


def test_few_files_are_split_exactly(tree):
    root = tree(*(f"{k}.wav" for k in range(8)))
    recordings = list_recordings(root).recordings
    assert all(r.drawn for r in recordings)
    assert {r.recording_id: r.partition for r in recordings} == split(f"{k}.wav" for k in range(8))
    assert sorted(r.partition for r in recordings) == ["test", *["train"] * 6, "validation"]


def test_files_of_other_suffixes_are_counted_in_a_line(tree):
    others = [
        *(f"{k}.JPG" for k in range(3)),
        "a/b.jpg",
        "c.xyz",
        "README",
        ".hidden.jpg",
        "d. Song",
    ]
    (remark,) = list_recordings(tree("a.wav", ".git/config", *others)).remarks
    assert remark == "left out 7 files of other suffixes: .jpg 4, without 2, .xyz 1"


def test_ten_suffixes_are_named(tree):
    (remark,) = list_recordings(tree("a.wav", *(f"a.x{k:02}" for k in range(12)))).remarks
    names = ", ".join(f".x{k:02} 1" for k in range(10))
    assert remark == f"left out 12 files of other suffixes: {names}, …"


def test_flat_files_have_no_label(tree):
    assert [r.label for r in list_recordings(tree("a.wav", "b.ogg")).recordings] == [None, None]


@pytest.mark.parametrize("name", ["a [b]/c d.wav", "ünïcode/é ñ.wav", "100%/#1?.wav", "x*/y.wav"])
def test_unusual_names(tree, name):
    root = tree(name)
    listing = list_recordings(root)
    (recording,) = listing.recordings
    assert listing.skipped == ()
    assert recording.uri == f"{root}/{name}"
    assert recording.recording_id == recording.context_id == recording.session_id == name
    assert recording.label == name.split("/")[0]
    assert recording.partition == "train"
    assert (recording.sensor_id, recording.offset_s) == ("", 0.0)


def test_only_audio_is_listed_and_in_order(tree):
    root = tree("b.aiff", "a.opus", "c.au", "cover.jpg", "notes.txt", "wav", "x.wav.part", "d.w64")
    assert names_of(root) == ["a.opus", "b.aiff", "c.au", "d.w64"]
    assert list_recordings(root).skipped == ()


def test_every_suffix_is_listed(tree):
    """Also those that libsndfile cannot decode: they are told apart at decoding, not in silence."""
    names = sorted(f"x{suffix}" for suffix in AUDIO_SUFFIXES)
    assert {"x.m4a", "x.aac", "x.mp4", "x.wma"} < set(names)
    assert names_of(tree(*names)) == names


def test_trailing_slash_makes_no_difference(tree):
    root = tree("dog/1.wav")
    assert list_recordings(root + "/") == list_recordings(root)


def test_hidden_files_are_skipped(tree):
    """A dot in front of the name or of any directory below the root; other files are not told."""
    root = tree("a.wav", "._a.wav", ".cache/deep/b.mp3", "c/.d/e.wav", ".git/config", "x/..y.wav")
    assert names_of(root) == ["a.wav"]
    assert list_recordings(root).skipped == tuple(
        Rejection(f"{root}/{name}", "list", "hidden", f"{part!r} begins with a dot")
        for name, part in [
            ("._a.wav", "._a.wav"),
            (".cache/deep/b.mp3", ".cache"),
            ("c/.d/e.wav", ".d"),
            ("x/..y.wav", "..y.wav"),
        ]
    )


def test_root_may_be_hidden(tmp_path):
    (tmp_path / ".music").mkdir()
    (tmp_path / ".music" / "a.wav").write_bytes(b"RIFF")
    assert names_of(str(tmp_path / ".music")) == ["a.wav"]


def test_empty_files_are_skipped(tree, tmp_path):
    root = tree("a.wav", "é/b.wav")
    for name in ("é/b.wav", "empty.txt"):
        (tmp_path / "root" / name).write_bytes(b"")
    assert names_of(root) == ["a.wav"]
    assert list_recordings(root).skipped == (
        Rejection(f"{root}/é/b.wav", "list", "empty", "the file has 0 bytes"),
    )


def test_links_out_of_the_tree_are_skipped(tree, tmp_path):
    """To a file, a directory, or nothing; those within the tree to files are files like others."""
    root = tree("a.wav", "sub/b.wav")
    outside = tmp_path / "root2"  # of which "root" is a prefix
    outside.mkdir()
    (outside / "c.wav").write_bytes(b"RIFF")
    links = {
        "inside.wav": tmp_path / "root" / "sub" / "b.wav",
        "sub/file.wav": outside / "c.wav",
        "sub/directory": outside,
        "gone.mp3": outside / "gone.mp3",
        "cover.jpg": outside / "cover.jpg",
        "loop": tmp_path / "root",
        "within.wav": "none.wav",
    }
    for name, target in links.items():
        (tmp_path / "root" / name).symlink_to(target)
    assert names_of(root) == ["a.wav", "inside.wav", "sub/b.wav"]
    out = "leads to {!r}, outside of --input"
    expected = {
        "gone.mp3": ("symlink_outside", out.format(str(links["gone.mp3"]))),
        "loop": ("symlink_directory", f"leads to {str(root)!r}, which is read where it is"),
        "sub/directory": ("symlink_outside", out.format(str(links["sub/directory"]))),
        "sub/file.wav": ("symlink_outside", out.format(str(links["sub/file.wav"]))),
        "within.wav": ("broken_link", f"leads to '{root}/none.wav': nothing there"),
    }
    assert list_recordings(root).skipped == tuple(
        Rejection(f"{root}/{name}", "list", *why) for name, why in expected.items()
    )


def test_names_that_are_not_utf8_are_skipped(tree, tmp_path):
    root = tree("a.wav")
    (tmp_path / "root" / os.fsdecode(b"caf\xe9.wav")).write_bytes(b"RIFF")
    listing = list_recordings(root)
    assert [recording.recording_id for recording in listing.recordings] == ["a.wav"]
    (skipped,) = listing.skipped
    assert (skipped.reason, skipped.detail) == ("bad_name", "its name is not UTF-8; rename it")


def test_directories_that_may_not_be_listed_are_told(tree, tmp_path, as_nobody):
    root = tree("a.wav", "secret/b.wav")
    (tmp_path / "root" / "secret").chmod(0)
    with as_nobody():
        listing = list_recordings(root)
    assert [recording.recording_id for recording in listing.recordings] == ["a.wav"]
    assert listing.skipped == (
        Rejection(f"{root}/secret", "list", "unreadable", "Permission denied"),
    )


def test_root_may_be_a_link(tree, tmp_path):
    tree("a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    listing = list_recordings(str(tmp_path / "link"))
    assert [r.uri for r in listing.recordings] == [f"{tmp_path}/link/a.wav"]
    assert listing.skipped == ()


@pytest.mark.parametrize(
    ("names", "others"),
    [([], ""), (["notes.txt"], "; left out 1 file of other suffixes: .txt 1")],
)
def test_tree_without_audio_is_refused(tree, names, others):
    root = tree(*names)
    with pytest.raises(InputError) as refusal:
        list_recordings(root)
    assert str(refusal.value) == (
        f"no audio files below {root!r}{others}; --input takes a directory with files such as "
        ".wav, .flac, .ogg, .oga"
    )


def test_tree_of_skipped_files_is_refused_with_the_reasons(tree, tmp_path):
    root = tree(".a.wav", "b.wav", ".c.wav")
    (tmp_path / "root" / "b.wav").write_bytes(b"")
    with pytest.raises(InputError) as refusal:
        list_recordings(root)
    assert str(refusal.value) == (
        f"no audio files below {root!r} but 1 empty, 2 hidden; --input takes a directory with "
        "files such as .wav, .flac, .ogg, .oga"
    )


def test_missing_directory_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no audio files below '.*none'"):
        list_recordings(str(tmp_path / "none"))


def test_settings_and_remarks_through_the_whole_job(make_songs, tmp_path, capsys):
    """A cover that is added is said, and the output still fits; another depth does not fit."""
    music, output = make_songs(tmp_path / "Music"), tmp_path / "out"
    words = ["--dataset", "folder", "--input", str(music), "--output", str(output)]
    assert main([*words, "--set", "label_depth=1"]) == 0
    info = parse_dataset_info((output / "dataset_info.json").read_text(), "")
    assert info.label_names == ("dog", "rain")
    assert info.source["label_depth"] == 1
    assert info.feature_spec == FeatureSpec()
    (music / "dog" / "cover.jpg").touch()
    capsys.readouterr()
    assert main([*words, "--set", "label_depth=1"]) == 0
    assert "left out 1 file of other suffixes: .jpg 1\n" in capsys.readouterr().err
    assert main(words) == 2
    assert "label_depth: stored 1, requested None" in capsys.readouterr().err
    assert main([*words[2:], "--dataset", "csv", "--set", "label_depth=1"]) == 2
    assert "label_depth=1 is a setting of --dataset folder" in capsys.readouterr().err
    assert main([*words, "--set", "label_depth=0"]) == 2
