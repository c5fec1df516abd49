"""A CSV table of recordings."""

import pytest

from beam_features.datasets.split import split_by_hash
from beam_features.datasets.table import list_recordings
from beam_features.job.plan import check_contexts
from beam_features.recording import Recording
from dem.errors import InputError

KNOWN = "uri, label, partition, context_id, session_id, sensor_id, offset_s"


@pytest.fixture
def table(tmp_path):
    """Write ``tmp_path/songs.csv``; give its path."""

    def table(text, encoding="utf-8"):
        (tmp_path / "songs.csv").write_text(text, encoding=encoding, newline="")
        return str(tmp_path / "songs.csv")

    return table


def refusal_of(path):
    with pytest.raises(InputError) as refusal:
        list_recordings(path)
    return str(refusal.value)


def test_all_columns(table):
    path = table(
        "offset_s,uri,sensor_id,label,session_id,partition,context_id\n"
        "12.5,/abs/a.wav,north,rain,monday,fold1,monday-north\n"
    )
    assert list_recordings(path).recordings == (
        Recording(
            "/abs/a.wav",
            "/abs/a.wav",
            "rain",
            "fold1",
            "monday-north",
            "monday",
            "north",
            12.5,
        ),
    )
    assert list_recordings(path).skipped == ()


def test_only_the_uri_is_required(table, tmp_path):
    """Everything else is as in a flat folder; the ids do not depend on where the table lies."""
    listing = list_recordings(table("uri\nsub/a.wav\n"))
    assert listing.recordings == (
        Recording(
            "sub/a.wav",
            f"{tmp_path}/sub/a.wav",
            None,
            split_by_hash("sub/a.wav"),
            "sub/a.wav",
            "sub/a.wav",
        ),
    )


def test_empty_cells_are_missing(table):
    path = table(
        "uri,label,partition,context_id,session_id,sensor_id,offset_s\n"
        "a.wav,,,,,,\n"
        "b.wav, ,test,tape,,,\n"
        "c.wav\n"
        "\n"
        "d.wav,,,tape2,monday\n"
    )
    assert [
        (r.recording_id, r.label, r.partition, r.context_id, r.session_id, r.sensor_id, r.offset_s)
        for r in list_recordings(path).recordings
    ] == [
        ("a.wav", None, split_by_hash("a.wav"), "a.wav", "a.wav", "", 0.0),
        ("b.wav", None, "test", "tape", "tape", "", 0.0),
        ("c.wav", None, split_by_hash("c.wav"), "c.wav", "c.wav", "", 0.0),
        ("d.wav", None, split_by_hash("monday"), "tape2", "monday", "", 0.0),
    ]


def test_a_session_is_not_split_by_the_hash(table):
    """Twenty contexts of a session; by their own hashes they would fall into all partitions."""
    rows = [f"{k}.wav,c{k},monday" for k in range(20)]
    path = table("\n".join(["uri,context_id,session_id", *rows]))
    assert {r.partition for r in list_recordings(path).recordings} == {split_by_hash("monday")}
    assert {split_by_hash(f"c{k}") for k in range(20)} == {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("a.wav", "{directory}/a.wav"),
        ("../b.wav", "{directory}/../b.wav"),
        ("/abs/c.wav", "/abs/c.wav"),
        ("gs://bucket/d.wav", "gs://bucket/d.wav"),
        ("ü [1]#.wav", "{directory}/ü [1]#.wav"),
        ('"e, f.wav"', "{directory}/e, f.wav"),
    ],
)
def test_relative_uris_begin_at_the_table(table, tmp_path, uri, expected):
    (recording,) = list_recordings(table(f"uri\n{uri}\n")).recordings
    assert recording.uri == expected.format(directory=tmp_path)


def test_table_in_the_working_directory(table, tmp_path, monkeypatch):
    table("uri\nsub/a.wav\n")
    monkeypatch.chdir(tmp_path)
    assert [r.uri for r in list_recordings("songs.csv").recordings] == ["sub/a.wav"]


def test_table_that_excel_saved(table):
    """A byte order mark in front, and both characters at the ends of lines."""
    path = table("uri,label\r\na.wav,Blues\r\n", encoding="utf-8-sig")
    assert [(r.recording_id, r.label) for r in list_recordings(path).recordings] == [
        ("a.wav", "Blues")
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "uri,lable,sesion_id\na.wav,x,y\n",
            f"has unknown columns 'lable', 'sesion_id'; choose from: {KNOWN}",
        ),
        (
            "label\nrain\n",
            f"must begin with a header that has the column uri, and each column once; "
            f"choose from: {KNOWN}",
        ),
        (
            "uri,label,label\na.wav,x,y\n",
            f"must begin with a header that has the column uri, and each column once; "
            f"choose from: {KNOWN}",
        ),
        (
            "",
            f"must begin with a header that has the column uri, and each column once; "
            f"choose from: {KNOWN}",
        ),
        ("uri,label\n", "has no rows below its header; add a row per recording"),
    ],
    ids=["typos", "no uri", "label twice", "empty", "header only"],
)
def test_tables_that_are_refused(table, text, message):
    path = table(text)
    assert refusal_of(path) == f"{path!r} {message}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.wav,,1:30", "offset_s '1:30' must be a number of seconds, 0 or more"),
        ("b.wav,,-1", "offset_s '-1' must be a number of seconds, 0 or more"),
        ("b.wav,,nan", "offset_s 'nan' must be a number of seconds, 0 or more"),
        ("b.wav,,inf", "offset_s 'inf' must be a number of seconds, 0 or more"),
        (",train,3", "no uri; each row names a recording"),
        ("b, c.wav,train,3", "more cells than the header; quote cells with commas"),
        ("b.wav,a/b,3", "partition 'a/b' may only have letters, digits, '_', '-', '.'"),
        ("b.wav,fold*,3", "partition 'fold*' may only have letters, digits, '_', '-', '.'"),
    ],
)
def test_rows_that_are_refused_by_their_line(table, row, message):
    path = table(f"uri,partition,offset_s\na.wav,train,10\n{row}\nc.wav,train,20\n")
    assert refusal_of(path) == f"{path!r}, line 3: {message}"


def test_context_in_two_partitions_is_refused(table):
    """Also where one of them was drawn: "tape 7" falls to train."""
    assert split_by_hash("tape 7") == "train"
    path = table("uri,partition,context_id\na.wav,test,tape 7\nb.wav,,tape 7\n")
    with pytest.raises(InputError) as refusal:
        check_contexts(list_recordings(path).recordings)
    assert str(refusal.value) == (
        "context 'tape 7' has recordings of two partitions, 'test' ('a.wav') and 'train' "
        "('b.wav'); a context is in one partition"
    )


def test_missing_table_is_refused(tmp_path):
    path = str(tmp_path / "none.csv")
    assert refusal_of(path) == f"{path!r} does not exist; --input takes the CSV file"


def test_table_of_another_encoding_is_refused(table):
    path = table("uri\nü.wav\n", encoding="latin-1")
    assert refusal_of(path) == f"{path!r} is not UTF-8 text; save it as CSV in UTF-8"
