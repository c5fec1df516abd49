"""A CSV table of recordings."""

import unicodedata
from dataclasses import fields

import pytest

from beam_features.datasets.split import split
from beam_features.datasets.table import list_recordings
from beam_features.job.plan import check_contexts
from beam_features.recording import Recording
from beam_features.schema.sources import RESERVED, Source
from dem.errors import InputError
from trainer.embed.parquet import table_schema


@pytest.fixture
def table(tmp_path):
    """Write ``tmp_path/songs.csv``; give its path."""

    def table(text, encoding="utf-8"):
        (tmp_path / "songs.csv").write_bytes(text.encode(encoding))
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
            "train",
            "sub/a.wav",
            "sub/a.wav",
            drawn=True,
        ),
    )


def test_empty_cells_are_missing(table):
    path = table(
        "uri,label,partition,context_id,session_id,sensor_id,offset_s\n"
        "a.wav,,,,,,\n"
        "b.wav, ,test,tape,,,\n"
        "\n"
        ",,,,,,\n"
        "d.wav,,,tape2,monday,,\n"
    )
    assert [
        (r.recording_id, r.label, r.partition, r.context_id, r.session_id, r.sensor_id, r.offset_s)
        for r in list_recordings(path).recordings
    ] == [
        ("a.wav", None, "train", "a.wav", "a.wav", "", 0.0),
        ("b.wav", None, "test", "tape", "tape", "", 0.0),
        ("d.wav", None, "train", "tape2", "monday", "", 0.0),
    ]


def test_a_session_is_not_split_by_the_hash(table):
    """Twenty contexts of five sessions."""
    rows = [f"{k}.wav,c{k},s{k % 5}" for k in range(20)]
    path = table("\n".join(["uri,context_id,session_id", *rows]))
    recordings = list_recordings(path).recordings
    sessions = split(f"s{k}" for k in range(5))
    assert sorted(sessions.values()) == ["test", "train", "train", "train", "validation"]
    assert all(r.partition == sessions[r.session_id] and r.drawn for r in recordings)


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


NEEDED = "the table must have uri"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label\nrain\n", f", line 1: no column uri among label; {NEEDED}"),
        ("url\na.wav\n", f", line 1: no column uri among url; {NEEDED}; did you mean 'url'?"),
        (
            "uri,label,Label \na.wav,x,y\n",
            ", line 1, column 3: a second 'label'; rename or remove it",
        ),
        (
            "uri,title,Title\na.wav,x,y\n",
            ", line 1, column 3: a second 'Title'; rename or remove it",
        ),
        ("uri,,label\na.wav,,x\n", ", line 1, column 2: it has no name; name it or remove it"),
        ("", " is empty; its first line must have uri"),
        ("\n \n", " is empty; its first line must have uri"),
        ("uri,label\n", " has no rows below its header; add a row per recording"),
        ("uri,label\n,\n", " has no rows below its header; add a row per recording"),
        (
            "uri,Bytes\na.wav,1\n",
            ", header, column Bytes: the results have a column of this name; rename it, or use one "
            "of uri, label, partition, context_id, session_id, sensor_id, offset_s",
        ),
    ],
)
def test_tables_that_are_refused(table, text, message):
    path = table(text)
    assert refusal_of(path) == f"{path!r}{message}"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("b.wav,,1:30", "offset_s: '1:30' must be a number of seconds, 0 or more"),
        ("b.wav,,-1", "offset_s: '-1' must be a number of seconds, 0 or more"),
        ("b.wav,,nan", "offset_s: 'nan' must be a number of seconds, 0 or more"),
        ("b.wav,,1_0", "offset_s: '1_0' must be a number of seconds, 0 or more"),
        ("b.wav,,1e999", "offset_s: '1e999' must be a number of seconds, 0 or more"),
        ("b.wav,,inf", "offset_s: 'inf' must be a number of seconds, 0 or more"),
        (",train,3", "uri: the cell is empty; fill it, or remove the row"),
        ("a.wav,train,3", "uri: 'a.wav' is in line 2 too; remove one of the rows"),
        ("sub/,train,3", "uri: 'sub/' is a directory; a row names an audio file"),
        ("b, c.wav,train,3", "4: 4 cells in a row of 3; quote cells that have separators"),
        ("b.wav,train", "offset_s: the row has 2 of 3 cells; the table may be truncated"),
        ("b.wav,a/b,3", "partition: 'a/b' may only have letters, digits, '_', '-', '.'"),
        ("b.wav,fold*,3", "partition: 'fold*' may only have letters, digits, '_', '-', '.'"),
        (f"b.wav,{'x' * 101},3", f"partition: '{'x' * 101}' may have at most 100 bytes"),
    ],
)
def test_rows_that_are_refused_by_line_and_column(table, row, message):
    path = table(f"uri,partition,offset_s\na.wav,train,10\n{row}\nc.wav,train,20\n")
    assert refusal_of(path) == f"{path!r}, line 3, column {message}"


def test_context_in_two_partitions_is_refused(table):
    path = table("uri,partition,context_id\na.wav,test,tape 7\nb.wav,train,tape 7\n")
    with pytest.raises(InputError) as refusal:
        check_contexts(list_recordings(path).recordings)
    assert str(refusal.value) == (
        "context 'tape 7' has recordings of two partitions, 'test' ('a.wav') and 'train' "
        "('b.wav'); a context is in one partition"
    )


def test_row_without_a_partition_follows_its_session(table):
    path = table("uri,partition,session_id\na.wav,test,tape 7\nb.wav,,tape 7\n")
    assert [r.partition for r in list_recordings(path).recordings] == ["test", "test"]


def test_further_columns_are_kept(table):
    """Those that look like a misspelled column are remarked; "artist" looks like none."""
    path = table(
        "uri;artist;Title;labels;context-id;sesion_id\n"
        "a.wav; Nina Simone;Feeling\u00a0 Good ;x;;\n"
        "b.wav;;Sinnerman;;;\n"
    )
    listing = list_recordings(path)
    assert [r.columns for r in listing.recordings] == [
        (("artist", "Nina Simone"), ("Title", "Feeling\u00a0 Good"), ("labels", "x")),
        (("Title", "Sinnerman"),),
    ]
    assert [r.label for r in listing.recordings] == [None, None]
    assert listing.remarks == (
        "column 'labels' is kept as a further column; did you mean 'label'?",
        "column 'context-id' is kept as a further column; did you mean 'context_id'?",
        "column 'sesion_id' is kept as a further column; did you mean 'session_id'?",
        "artist: 1 row normalised, such as ' Nina Simone' to 'Nina Simone'",
        r"Title: 1 row normalised, such as 'Feeling\xa0 Good ' to 'Feeling\xa0 Good'",
    )


def test_known_columns_are_known_in_any_case(table):
    listing = list_recordings(table("URI, Partition\na.wav,test\n"))
    assert [(r.recording_id, r.partition, r.drawn) for r in listing.recordings] == [
        ("a.wav", "test", False)
    ]
    assert listing.remarks == (
        "column 'URI' is read as 'uri'",
        "column ' Partition' is read as 'partition'",
    )


def test_columns_of_the_vectors_are_reserved():
    assert {*table_schema(8).names} <= RESERVED
    assert {field.name for field in fields(Source)} <= RESERVED


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["NFC", "NFD"])
def test_files_are_found_in_either_unicode_form(table, tmp_path, stored, written):
    (tmp_path / "é").mkdir()
    name = "é/caf\xe9.wav"
    on_disk = tmp_path / unicodedata.normalize(stored, name)
    on_disk.parent.mkdir(exist_ok=True)
    on_disk.touch()
    listing = list_recordings(table(f"uri\n{unicodedata.normalize(written, name)}\n"))
    (recording,) = listing.recordings
    assert recording.uri == str(on_disk)
    assert recording.recording_id == unicodedata.normalize("NFC", name)
    other_form = (
        "1 of the files are stored in another Unicode form than in the table, such as "
        r"'e\u0301/cafe\u0301.wav'"
    )
    changed = r"uri: 1 row normalised, such as 'e\u0301/cafe\u0301.wav' to '\xe9/caf\xe9.wav'"
    assert listing.remarks == (
        *([other_form] if (written, stored) == ("NFC", "NFD") else []),
        *([changed] if written == "NFD" else []),
    )


def test_file_whose_name_begins_with_a_blank_is_found(table, tmp_path):
    (tmp_path / " a.wav").touch()
    (recording,) = list_recordings(table("uri\n a.wav\n")).recordings
    assert (recording.recording_id, recording.uri) == ("a.wav", f"{tmp_path}/ a.wav")


def test_missing_table_is_refused(tmp_path):
    path = str(tmp_path / "none.csv")
    assert refusal_of(path) == f"{path!r} does not exist; --input takes the CSV file"


def test_table_of_another_encoding_is_refused(table):
    path = table("uri\nü.wav\n", encoding="latin-1")
    assert refusal_of(path) == (
        f"{path!r}, line 2, column uri: byte 0xfc is not UTF-8 text; save the table as CSV in UTF-8"
    )


def test_directory_is_refused(tmp_path):
    path = str(tmp_path)
    assert refusal_of(path) == f"{path!r} is a directory; --input takes the CSV file"
