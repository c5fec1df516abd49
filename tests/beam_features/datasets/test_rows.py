"""The reader of tables: what has one meaning is read, all else is refused by its place."""

import random

import pytest

from beam_features.datasets.names import Notes
from beam_features.datasets.rows import read_table
from beam_features.datasets.survey import survey
from dem.errors import InputError
from tests.dcase import write_lines

KNOWN = ("name", "label", "part")


@pytest.fixture
def write(tmp_path):
    def write(data):
        (tmp_path / "t.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(tmp_path / "t.csv")

    return write


def cells_of(uri):
    _, rows = read_table(uri, KNOWN, ("name",), Notes(), "give a table")
    return [dict(row.cells) for row in rows]


def refusal_of(uri):
    with pytest.raises(InputError) as refusal:
        cells_of(uri)
    return str(refusal.value).removeprefix(repr(uri))


EXPECTED = [{"name": "a", "label": "x, y"}, {"name": "b", "label": "é"}]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\r\r\n"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff", "\ufeff\ufeff"])
def test_what_spreadsheets_save_is_read(write, end, separator, mark):
    rows = [["name", "label"], ["a", '"x, y"'], ["", ""], ["b", "é"]]
    text = end.join([separator.join(row) for row in rows])
    assert cells_of(write(f"{mark}{text}")) == EXPECTED
    assert cells_of(write(f"{end}{mark}{text}{end}{end}")) == EXPECTED


def test_quotes_within_cells_are_text(write):
    assert cells_of(write('name,label\n5" vinyl,"say ""hi"""\n')) == [
        {"name": '5" vinyl', "label": 'say "hi"'}
    ]


def test_line_breaks_are_joined_in_free_text_only(write):
    assert cells_of(write('name,lyrics\na,"la\nla"\n')) == [{"name": "a", "lyrics": "la la"}]
    assert refusal_of(write('name,label\na,x\nb,"la\nla"\nc,y\n')) == (
        r", line 3, column label: a line break or another control character in 'la\nla'; "
        "check the quotes"
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            b"name,label\na,caf\xe9\n",
            ", line 2, column label: byte 0xe9 is not UTF-8 text; save the table as CSV in UTF-8",
        ),
        (
            b"name,caf\xe9\na,b\n",
            ", line 1, column 2: byte 0xe9 is not UTF-8 text; save the table as CSV in UTF-8",
        ),
        (
            b"name,label\n\na,\0\n",
            ", line 3, column label: byte 0x00 is not UTF-8 text; save the table as CSV in UTF-8",
        ),
        ("name\na\n".encode("utf-16-le"), None),
        ("name\na\n".encode("utf-16"), " is UTF-16 text; save it as CSV in UTF-8"),
        (b"PK\x03\x04 xlsx", " is a spreadsheet or a zip archive; save it as CSV in UTF-8"),
        (b"\x1f\x8b", " is compressed; save it as CSV in UTF-8"),
        (
            b'name,label\na,"x\nb,y\nc,z\n',
            ", line 4, in the row that begins at line 2: unexpected end of data; check the quotes",
        ),
        (
            b'name,label\na,"x"y\n',
            ", line 2, in the row that begins at line 2: ',' expected after '\"'; check the quotes",
        ),
        (
            b"name,label\na\n",
            ", line 2, column label: the row has 1 of 2 cells; the table may be truncated",
        ),
        (
            b"name|label\na|x\n",
            ", line 1: no column name among name|label; the table must have name",
        ),
        (
            b"name,label\na,x,\n",
            ", line 2, column 3: 3 cells in a row of 2; quote cells that have separators",
        ),
    ],
)
def test_what_is_refused(write, data, message):
    assert refusal_of(write(data)) == message or message is None


def test_cells_may_be_longer_than_the_limit_of_the_standard_library(write):
    assert len(cells_of(write(f"name,label\na,{'x' * 200_000}\n"))[0]["label"]) == 200_000


def test_missing_file_is_refused_with_the_remedy(tmp_path):
    path = str(tmp_path / "none.csv")
    assert refusal_of(path) == " does not exist; give a table"
    (tmp_path / "file").touch()
    assert refusal_of(str(tmp_path / "file/none.csv")) == " does not exist; give a table"


SPOILERS = [
    b"\xe9",
    b"\0",
    b'"',
    b",",
    b";",
    b"\t",
    b"\n",
    b"\r",
    b"/",
    b"..",
    b"\\",
    b" ",
    b"\xc2\xa0",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"1.5",
    b"*",
    b"-",
    b"",
]


@pytest.fixture
def sources(tmp_path, write_development_set):
    """A table of each adapter, which is intact, and what `survey` takes."""
    write_lines(
        tmp_path / "esc/meta/esc50.csv",
        "filename,fold,category,src_file",
        "a.wav,1,dog,7",
        "b.wav,2,cat,8",
    )
    write_lines(
        tmp_path / "csv/t.csv",
        "uri,label,partition,offset_s,artist",
        "a.wav,dog,test,0,Nina",
        "b.wav,cat,,1.5,",
    )
    write_lines(
        tmp_path / "fma/fma_metadata/tracks.csv",
        ",set,set,track,artist,track",
        ",subset,split,genre_top,id,title",
        "track_id,,,,,",
        "2,small,training,Rock,1,x",
    )
    (tmp_path / "fma/fma_small").mkdir()
    (tmp_path / "fma/fma_small/2.mp3").touch()
    dev = write_development_set(tmp_path / "dev")
    return {
        "esc50": (tmp_path / "esc/meta/esc50.csv", tmp_path / "esc"),
        "csv": (tmp_path / "csv/t.csv", tmp_path / "csv/t.csv"),
        "fma": (tmp_path / "fma/fma_metadata/tracks.csv", tmp_path / "fma"),
        "dcase2018-task5": (dev / "meta.txt", dev),
    }


@pytest.mark.parametrize("dataset", ["esc50", "csv", "fma", "dcase2018-task5"])
def test_spoiled_tables_are_read_or_refused(sources, dataset, monkeypatch):
    """Bytes replaced, inserted or cut off at random places: never another error."""
    monkeypatch.setattr("beam_features.datasets.survey._check_present", lambda *_: None)
    table, source = sources[dataset]
    intact, rng = table.read_bytes(), random.Random(0)
    refused: list[str] = []
    whole = survey(dataset, str(source))
    assert whole.recordings
    for _ in range(300):
        data = intact
        for _ in range(rng.choice((1, 1, 2, 5))):
            place = rng.randrange(len(data) + 1)
            data = data[:place] + rng.choice(SPOILERS) + data[place + rng.choice((0, 1)) :]
        table.write_bytes(data if rng.random() < 0.8 else data[: rng.randrange(len(data) + 1)])
        try:
            assert survey(dataset, str(source)).recordings
        except InputError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 300
    assert not any("\n" in message for message in refused)
