"""The page as a file; `test_browser` opens it."""

import json
import re

import numpy as np
import pytest

from dem.__main__ import main
from similarity.map.page import MapSong, colours_of, render_map
from tests.similarity.libraries import MadeUp, direction, write_vectors

NASTY = "</script><script>alert(1)</script> & \u2028 \N{MUSICAL NOTE}"


def data_of(page: str) -> dict:
    (line,) = re.findall(r"^window\.songData = (.*);$", page, re.MULTILINE)
    return json.loads(line)


def test_names_cannot_leave_their_place():
    song = MapSong(NASTY, NASTY, "1:00", None, [])
    page = render_map(NASTY, [song], np.zeros((1, 2)), {"label": [NASTY]})
    assert data_of(page)["songs"][0]["name"] == NASTY
    assert "alert(1)</script>" not in page


def test_it_needs_no_network():
    page = render_map(
        "t", [MapSong("a", "a", "1:00", None, [])], np.zeros((1, 2)), {"label": ["x"]}
    )
    assert re.findall(r"<(?:script|link)[^>]+(?:src|href)=", page) == []


def test_colours():
    assert colours_of(["a", "b", "a", None]) == ["#1f77b4", "#ff7f0e", "#1f77b4", "#9e9e9e"]
    shades = colours_of([60.0, 120.0, None])
    assert shades == ["#440154", "#FDE724", "#9e9e9e"]


def test_links_are_relative_to_the_page(tmp_path):
    songs = [MadeUp("A/one #1.ogg", direction(0)), MadeUp("two%.ogg", direction(1))]
    for song in songs:
        path = tmp_path / "music" / song.recording
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    vectors = write_vectors(tmp_path / "v", songs, root=str(tmp_path / "music"))
    assert main(["index", str(vectors), "--output", str(tmp_path / "i")]) == 0
    page = tmp_path / "pages" / "map.html"
    atlas = tmp_path / "atlas.parquet"
    words = ["--index", str(tmp_path / "i"), "--output", str(page), "--atlas", str(atlas)]
    assert main(["map", *words]) == 0
    found = data_of(page.read_text())["songs"]
    assert [song["sound"] for song in found] == ["../music/A/one%20%231.ogg", "../music/two%25.ogg"]
    assert found[0]["near"] == [[1, 0.0]]
    import pyarrow.parquet as pq

    table = pq.read_table(atlas)
    assert table["neighbors"].to_pylist()[0] == {"ids": [1], "distances": [1.0]}
    assert {"x", "y", "recording"} <= set(table.column_names)


@pytest.mark.parametrize("play", ["0", "61", "-1"])
def test_seconds_to_play(tmp_path, capsys, play):
    assert main(["map", "--index", "i", "--output", "m.html", "--play", play]) == 2
    assert "--play takes 0 to 60 seconds" in capsys.readouterr().err


def test_songs_without_files_have_no_link_and_equal_names_become_ids(tmp_path):
    names = ["0/bell/00", "0/reed/00", "0/reed/01"]
    songs = [MadeUp(name, direction(angle)) for angle, name in enumerate(names)]
    vectors = write_vectors(tmp_path / "v", songs, root="sample:")
    assert main(["index", str(vectors), "--output", str(tmp_path / "i")]) == 0
    page = tmp_path / "map.html"
    assert main(["map", "--index", str(tmp_path / "i"), "--output", str(page)]) == 0
    found = data_of(page.read_text())["songs"]
    assert [song["name"] for song in found] == ["0/bell/00", "0/reed/00", "01"]
    assert [song["sound"] for song in found] == [None] * 3
