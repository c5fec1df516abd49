"""Playlists: bytes in, bytes out."""

import pytest

from similarity.index.songs import Song
from similarity.playlists.m3u import Entry, format_m3u, parse_m3u, path_for, resolve, title_of

SONG = Song("A/one.ogg", "/music/A/one.ogg", "1", seconds=61.6, title="One", artist="Ada")


def test_a_playlist_is_written_byte_for_byte():
    name = b"\xe9t\xe9.ogg".decode(errors="surrogateescape")  # Latin-1 on disk
    assert format_m3u([(SONG, "A/one.ogg"), (None, name)]) == (
        b"#EXTM3U\n#EXTINF:62,Ada - One\nA/one.ogg\n\xe9t\xe9.ogg\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"#EXTM3U\n#EXTINF:62,Ada - One\nA/one.ogg\n",
        b"\xef\xbb\xbf#EXTM3U\r\n#EXTINF:62,Ada - One\r\nA/one.ogg\r\n",
        b"#EXTINF:62,Ada - One\n\nA/one.ogg",
    ],
    ids=["plain", "mark and CRLF", "no header, no last line end"],
)
def test_playlists_are_read(data):
    assert parse_m3u(data) == [Entry("A/one.ogg", ("#EXTINF:62,Ada - One",))]


def test_what_is_written_is_read():
    name = b"caf\xe9 \xf0\x9f\x8e\xb5.ogg".decode(errors="surrogateescape")
    assert [entry.path for entry in parse_m3u(format_m3u([(None, name)]))] == [name]


def test_paths():
    assert path_for("/music/A/one.ogg", "/music/lists") == "../A/one.ogg"
    assert path_for("/music/A/one.ogg", None) == "/music/A/one.ogg"
    assert path_for("gs://bucket/one.ogg", "/music") == "gs://bucket/one.ogg"
    assert resolve(Entry("..\\A\\one.ogg"), "/music/lists") == "/music/A/one.ogg"
    assert resolve(Entry("gs://bucket/one.ogg"), "/music") == "gs://bucket/one.ogg"


def test_a_song_without_tags_is_called_as_its_file():
    assert title_of(Song("A/one.two.ogg", "", "")) == "one.two"
