"""ESC-50's own table of clips."""

import re

import pytest

from beam_features.datasets.esc50 import list_recordings
from beam_features.recording import Recording
from dem.errors import InputError

HEADER = "filename,fold,target,category,esc10,src_file,take\n"


@pytest.fixture
def table(tmp_path):
    def table(text):
        (tmp_path / "meta").mkdir()
        (tmp_path / "meta" / "esc50.csv").write_text(text)
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
    "text",
    ["", HEADER, "filename,fold,category\na.wav,1,dog\n", "garbage\nmore\n"],
    ids=["empty", "header only", "no src_file", "garbage"],
)
def test_table_without_rows_or_columns_is_refused(table, text):
    with pytest.raises(InputError, match="the columns category, filename, fold, src_file"):
        list_recordings(table(text))
