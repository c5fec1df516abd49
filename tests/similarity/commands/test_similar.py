"""``dem similar``: order, numbers, filters, and what is said of bad input."""

import csv
import io
import json

import numpy as np
import pytest

FAR = 1.5  # the largest angle, between a and e


def names(result):
    return [song["recording"] for song in result["results"]]


def test_the_nearest_first_with_similarity_from_0_to_1(dem_json):
    result = dem_json("similar", "jazz/a.ogg", "--hubs", "none")
    assert result["query"] == ["jazz/a.ogg"]
    assert names(result) == [
        *("jazz/copy of a.ogg", "jazz/b.ogg", "rock/c.ogg", "rock/d.ogg", "rock/e.ogg")
    ]
    found = [song["similarity"] for song in result["results"]]
    angles = np.array([0.0, 0.1, 0.5, 0.7, 1.5])
    expected = 1 - (1 - np.cos(angles)) / (1 - np.cos(FAR))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert result["results"][2] == {
        "recording": "rock/c.ogg",
        "uri": "/music/rock/c.ogg",
        "similarity": found[2],
        "seconds": 60.0,
        "artist": "Bob",
        "label": "rock",
    }


@pytest.mark.parametrize("word", ["jazz/b.ogg", "/music/jazz/b.ogg", "b.ogg", "b"])
def test_a_song_is_named_by_id_path_or_end(dem_json, word):
    assert dem_json("similar", word, "-k", "1")["query"] == ["jazz/b.ogg"]


def test_several_songs_and_those_it_shall_not_be_like(dem_json):
    both = dem_json("similar", "a", "e", "--hubs", "none", "-k", "1")
    assert names(both) == ["rock/d.ogg"]  # the angle in the middle is 0.75
    without = dem_json("similar", "c", "--not", "e", "--hubs", "none", "-k", "1")
    assert names(without)[0].startswith("jazz/")


def test_limits_per_artist_and_copies(dem_json):
    found = names(dem_json("similar", "c", "--per-artist", "1", "--hubs", "none"))
    assert found == ["rock/d.ogg", "jazz/b.ogg", "rock/e.ogg"]
    found = names(dem_json("similar", "b", "--no-duplicates", "--hubs", "none"))
    assert len({"jazz/a.ogg", "jazz/copy of a.ogg"} & set(found)) == 1
    found = names(dem_json("similar", "a", "--no-duplicates", "--hubs", "none"))
    assert "jazz/copy of a.ogg" not in found


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("label=JAZZ", {"jazz/b.ogg", "jazz/copy of a.ogg"}),
        ("label!=jazz", {"rock/c.ogg", "rock/d.ogg", "rock/e.ogg"}),
        ("artist=bob", {"rock/c.ogg"}),
        ("year=2060..2100", {"jazz/b.ogg", "rock/c.ogg", "rock/d.ogg", "rock/e.ogg"}),
        ("year=2100..", {"jazz/copy of a.ogg"}),
    ],
)
def test_conditions(dem_json, condition, expected):
    assert set(names(dem_json("similar", "a", "--where", condition))) == expected


def test_two_conditions_and_no_song_that_meets_them(dem_json, dem):
    words = ("similar", "a", "--where", "label=rock", "artist=ada")
    assert names(dem_json(*words)) == []
    assert dem(*words) == b""


def test_forms(dem, tmp_path):
    table = dem("similar", "a", "-k", "2", "--hubs", "none").decode()
    assert table.splitlines()[0].split() == ["similarity", "length", "recording", "artist", "label"]
    rows = list(csv.DictReader(io.StringIO(dem("similar", "a", "--format", "csv").decode())))
    assert len(rows) == 5
    assert {"recording", "similarity", "label"} <= rows[0].keys()
    playlist = tmp_path / "lists" / "like a.m3u8"
    dem("similar", "a", "-k", "1", "--hubs", "none", "--format", "m3u8", "--output", str(playlist))
    text = playlist.read_bytes().decode()
    assert text.splitlines()[:2] == ["#EXTM3U", "#EXTINF:60,Ada - copy of a"]
    assert text.splitlines()[2].endswith("/music/jazz/copy of a.ogg")
    assert text.splitlines()[2].startswith("../")
    jspf = json.loads(dem("similar", "a", "-k", "1", "--hubs", "none", "--format", "jspf"))
    assert jspf["playlist"]["track"] == [
        {
            "location": ["file:///music/jazz/copy%20of%20a.ogg"],
            "creator": "Ada",
            "duration": 60000,
        }
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zz"], "'zz' is neither a recording of"),
        (["jazz/bb.ogg"], "did you mean 'jazz/b.ogg'?"),
        (["copy"], "did you mean 'jazz/copy of a.ogg'?"),
        (["a", "-k", "0"], "-k must be at least 1, not 0"),
        (["a", "--where", "mood=sad"], "has no column 'mood'; choose one of"),
        (["a", "--where", "mood"], "--where takes key=value"),
        (["a", "--where", "year=x..y"], "'x' is not a number"),
        (["a", "--hubs", "all"], "invalid choice"),
    ],
)
def test_bad_input(dem, words, said):
    assert said in dem("similar", *words, code=2).decode()


def test_no_index(capfdbinary, tmp_path):
    from dem.__main__ import main

    assert main(["similar", "a", "--index", str(tmp_path)]) == 2
    assert b"holds no index; build one with dem index" in capfdbinary.readouterr().err


def test_one_song(capfdbinary, tmp_path):
    from dem.__main__ import main
    from tests.similarity.libraries import MadeUp, direction, write_vectors

    vectors = write_vectors(tmp_path / "v", [MadeUp("one.ogg", direction(0))])
    assert main(["index", str(vectors), "--output", str(tmp_path / "i")]) == 0
    capfdbinary.readouterr()
    assert main(["similar", "one", "--index", str(tmp_path / "i")]) == 0
    assert capfdbinary.readouterr().out == b""
