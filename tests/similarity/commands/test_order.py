"""``dem sort`` and ``dem path``: permutations, places, and entries that nobody knows."""

import io
import itertools
import json
import sys
from collections import Counter

import pytest

from similarity.playlists.m3u import parse_m3u

ORDER = ["jazz/a.ogg", "jazz/copy of a.ogg", "jazz/b.ogg", "rock/c.ogg", "rock/d.ogg", "rock/e.ogg"]


@pytest.fixture
def playlist(tmp_path):
    """Write a playlist of these lines; give its path."""

    def write(*lines: str) -> str:
        path = tmp_path / "list.m3u8"
        path.write_text("".join(f"{line}\n" for line in lines))
        return str(path)

    return write


def all_songs() -> list[str]:
    return [f"/music/{name}" for name in sorted(ORDER, key=lambda name: name[::-1])]


def test_songs_on_an_arc_are_put_in_its_order(dem_json, playlist):
    result = dem_json("sort", playlist("#EXTM3U", *all_songs()), "--first", "a")
    assert result["recordings"] in (ORDER, [ORDER[0], *ORDER[1:]])
    assert result["mean_transition"] == pytest.approx(
        sum(song.get("transition", 0) for song in result["songs"]) / 5, abs=1e-5
    )


def test_first_last_and_artists_apart(dem_json, playlist):
    result = dem_json("sort", playlist(*all_songs()), "--first", "d", "--last", "b")
    assert (result["recordings"][0], result["recordings"][-1]) == ("rock/d.ogg", "jazz/b.ogg")
    apart = dem_json("sort", playlist(*all_songs()), "--artist-gap", "1")["recordings"]
    ada = [place for place, name in enumerate(apart) if name.startswith("jazz/")]
    assert min(b - a for a, b in itertools.pairwise(ada)) >= 2


def test_nothing_is_lost_and_what_is_unknown_keeps_its_place(dem, playlist):
    songs = all_songs()
    lines = [songs[0], "/elsewhere/x.ogg", *songs[1:], songs[2], "gs://bucket/y.ogg"]
    out = dem("sort", playlist(*lines), "--format", "m3u8", "--absolute")
    entries = [entry.path for entry in parse_m3u(out)]
    assert Counter(entries) == Counter(lines)
    assert (entries[1], entries[-1]) == ("/elsewhere/x.ogg", "gs://bucket/y.ogg")


def test_unknown_entries_are_listed_or_refused(dem, playlist, index, capfdbinary):
    from dem.__main__ import main

    path = playlist(*all_songs(), "/elsewhere/x.ogg")
    assert main(["sort", path, "--index", str(index), "--unknown", "list"]) == 0
    out, err = capfdbinary.readouterr()
    assert b"/elsewhere/x.ogg" in err
    assert b"elsewhere" not in out
    assert b"such as '/elsewhere/x.ogg'" in dem("sort", path, "--unknown", "refuse", code=2)


def test_by_a_column_and_by_leaves(dem_json, playlist):
    by_artist = dem_json("sort", playlist(*all_songs()), "--by", "artist")["recordings"]
    assert by_artist[3:] == ["rock/c.ogg", "rock/d.ogg", "rock/e.ogg"]  # unknown is last
    leaves = dem_json("sort", playlist(*all_songs()), "--method", "leaves")["recordings"]
    assert sorted(leaves) == sorted(ORDER)


def test_from_stdin(dem_json, monkeypatch):
    data = "\n".join(all_songs()).encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert sorted(dem_json("sort", "-")["recordings"]) == sorted(ORDER)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none.m3u8"], "does not exist; give a playlist, a directory, or -"),
        (["LIST", "--first", "zz"], "'zz' is neither a recording"),
        (["LIST", "--first", "a", "--last", "a"], "must be different songs"),
        (["LIST", "--by", "mood"], "has no column 'mood'"),
        (["LIST", "--artist-gap", "-1"], "must be 0 or more"),
        (["EMPTY"], "names no songs"),
    ],
)
def test_bad_input(dem, playlist, tmp_path, words, said):
    full = playlist(*all_songs())
    (tmp_path / "empty.m3u").write_text("#EXTM3U\n")
    paths = {"LIST": full, "EMPTY": str(tmp_path / "empty.m3u")}
    assert said in dem("sort", *(paths.get(word, word) for word in words), code=2).decode()


def test_a_path_leads_from_one_to_the_other(dem_json):
    result = dem_json("path", "a", "e", "--count", "4")
    assert result["recordings"] == ["jazz/a.ogg", "rock/c.ogg", "rock/d.ogg", "rock/e.ogg"]
    via = dem_json("path", "a", "e", "--count", "4", "--via", "b")
    assert via["recordings"][0::3] == ["jazz/a.ogg", "rock/e.ogg"]
    assert "jazz/b.ogg" in via["recordings"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a", "a"], "must be different songs"),
        (["a", "zz"], "'zz' is neither a recording"),
        (["a", "e", "--count", "1"], "less than the 2 songs"),
        (["a", "e", "--variety", "2"], "0 to 1, not 2.0"),
    ],
)
def test_bad_paths(dem, words, said):
    assert said in dem("path", *words, code=2).decode()


def test_json_is_ascii_whatever_the_names(dem):
    assert json.loads(dem("path", "a", "e", "--format", "json").decode("ascii"))
