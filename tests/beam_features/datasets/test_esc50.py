"""ESC-50's own table of clips."""

import re

import pytest

from beam_features.datasets.esc50 import list_recordings
from beam_features.recording import Recording
from dem.errors import InputError

HEADER = "filename,fold,target,category,esc10,src_file,take\n"
ROW = "1-1-A-0.wav,1,0,dog,True,7,A\n"
FOLD, WHOLE = ", line 2, column fold: ", "must be a whole number from 1 to 999, such as 5"
FILE, IN_AUDIO = ", line 2, column filename: ", "must be the name of a file in audio/"


@pytest.fixture
def table(tmp_path):
    def table(text):
        (tmp_path / "meta").mkdir()
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "meta" / "esc50.csv").write_bytes(data)
        return str(tmp_path)

    return table


def test_rows_become_recordings(table):
    """Two clips of one source file share the session, not the context."""
    root = table(
        HEADER
        + "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        + "1-100032-B-0.wav,1,0,dog,True,100032,B\n"
        + "5-9032-A-0.wav,5,10,rain,True,9032,A\n"
    )
    names = ["1-100032-A-0.wav", "1-100032-B-0.wav", "5-9032-A-0.wav"]
    expected = [("dog", "fold1", "100032"), ("dog", "fold1", "100032"), ("rain", "fold5", "9032")]
    listing = list_recordings(root)
    assert listing.skipped == ()
    assert list(listing.recordings) == [
        Recording(name, f"{root}/audio/{name}", label, fold, name, source)
        for name, (label, fold, source) in zip(names, expected, strict=True)
    ]


def test_missing_table_is_refused(tmp_path):
    message = (
        f"{str(tmp_path / 'meta' / 'esc50.csv')!r} does not exist; "
        "--input takes the directory that holds meta/ and audio/"
    )
    with pytest.raises(InputError, match=re.escape(message)):
        list_recordings(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " is empty; its first line must have filename, fold, category, src_file"),
        (HEADER, " has no rows below its header; add a row per recording"),
        (
            "filename,fold,category\na.wav,1,dog\n",
            ", line 1: no column src_file among filename, fold, category; "
            "the table must have filename, fold, category, src_file",
        ),
        (
            "garbage\nmore\n",
            ", line 1: no column filename, fold, category, src_file among garbage; "
            "the table must have filename, fold, category, src_file",
        ),
        (HEADER + ROW.replace(",1,", ",1/2,"), f"{FOLD}'1/2' {WHOLE}"),
        (HEADER + ROW.replace(",1,", ",1.0,"), f"{FOLD}'1.0' {WHOLE}"),
        (HEADER + ROW.replace(",1,", ",0,"), f"{FOLD}'0' {WHOLE}"),
        (HEADER + ROW.replace(",1,", ",01,"), f"{FOLD}'01' {WHOLE}"),
        (HEADER + ROW.replace(",1,", ",²,"), f"{FOLD}'²' {WHOLE}"),
        (
            HEADER + ROW.replace(",1,", ", ,"),
            f"{FOLD}the cell is empty; fill it, or remove the row",
        ),
        (HEADER + ROW.replace("1-1-A", "../1-1-A"), f"{FILE}'../1-1-A-0.wav' {IN_AUDIO}"),
        (HEADER + ROW.replace("1-1-A", "/1-1-A"), f"{FILE}'/1-1-A-0.wav' {IN_AUDIO}"),
        (HEADER + ROW.replace("1-1-A", "gs://b/1-1-A"), f"{FILE}'gs://b/1-1-A-0.wav' {IN_AUDIO}"),
        (HEADER + ROW.replace("1-1-A", "..\\1-1-A"), f"{FILE}'..\\\\1-1-A-0.wav' {IN_AUDIO}"),
        (
            HEADER + ROW.replace("1-1-A-0.wav", " "),
            f"{FILE}the cell is empty; fill it, or remove the row",
        ),
        (
            HEADER + ROW + ROW,
            ", line 3, column filename: '1-1-A-0.wav' is in line 2 too; remove one of the rows",
        ),
        (
            HEADER + ROW.replace("dog", ""),
            ", line 2, column category: the cell is empty; fill it, or remove the row",
        ),
        (
            (HEADER + ROW.replace("dog", "café")).encode("latin-1"),
            ", line 2, column category: byte 0xe9 is not UTF-8 text; "
            "save the table as CSV in UTF-8",
        ),
        ((HEADER + ROW).encode("utf-16"), " is UTF-16 text; save it as CSV in UTF-8"),
    ],
)
def test_tables_that_are_refused(table, text, message):
    root = table(text)
    with pytest.raises(InputError) as refusal:
        list_recordings(root)
    assert str(refusal.value) == f"'{root}/meta/esc50.csv'{message}"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + HEADER + ROW,
        (HEADER + ROW).replace(",", ";"),
        (HEADER + ROW).replace(",", "\t"),
        (HEADER + ROW).replace("\n", "\r\n"),
        (HEADER + ROW).replace("\n", "\r"),
        f"\n{HEADER}\n{ROW}\n,,,,,,\n",
        (HEADER + ROW).rstrip("\n"),
    ],
    ids=["mark", "semicolon", "tab", "CRLF", "CR", "blank lines", "no last line end"],
)
def test_tables_of_spreadsheets_are_read(table, text):
    (recording,) = list_recordings(table(text)).recordings
    assert (recording.label, recording.partition, recording.session_id) == ("dog", "fold1", "7")


def test_what_was_changed_is_said(table):
    rows = " 1-1-A-0.wav, 1 ,0, dog,True,7,A\n1-2-A-0.wav,1,0,dog\xa0,True,7,A\n"
    listing = list_recordings(table(HEADER.replace("fold", " Fold") + rows))
    assert {(r.label, r.partition) for r in listing.recordings} == {("dog", "fold1")}
    assert listing.remarks == (
        "column ' Fold' is read as 'fold'",
        "filename: 1 row normalised, such as ' 1-1-A-0.wav' to '1-1-A-0.wav'",
        "fold: 1 row normalised, such as ' 1 ' to '1'",
        "category: 2 rows normalised, such as ' dog' to 'dog'",
    )
