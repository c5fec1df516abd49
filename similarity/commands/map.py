"""``dem map``: the library as one HTML page, a point per song, to search and to listen to."""

import argparse
import logging
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dem import storage
from dem.access import is_remote
from dem.command import Parser, run_command
from dem.errors import InputError
from similarity.commands.options import add_index

if TYPE_CHECKING:
    from similarity.index.library import Library
    from similarity.index.songs import Song

_LOG = logging.getLogger(__name__)
_PROG = "python -m similarity.commands.map"
_NEAREST = 10
_MOST_EMBEDDED = 2000  # songs whose sound the page holds


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "Draw the library as one HTML page: near points sound alike, a click plays the song.",
        "--index INDEX --output map.html --play 6",
    )
    add_index(parser)
    parser.add_argument("--output", metavar="FILE.html", required=True, help="the page")
    parser.add_argument(
        "--play",
        metavar="SECONDS",
        type=float,
        help="put so many seconds of each song into the page, up to 2000 songs "
        "(default: the page links to the files)",
    )
    parser.add_argument(
        "--seed", metavar="N", type=int, default=0, help="of the places (default 0)"
    )
    parser.add_argument(
        "--atlas", metavar="FILE.parquet", help="also write the table that embedding-atlas reads"
    )
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    from similarity.index.library import open_library

    if parsed.play is not None and not 0 < parsed.play <= 60:
        raise InputError(f"--play takes 0 to 60 seconds, not {parsed.play}")
    with open_library(parsed.index) as library:
        _draw(library, parsed)


def _draw(library: "Library", parsed: argparse.Namespace) -> None:
    from similarity.map.layout import places
    from similarity.map.nearby import nearest_rows
    from similarity.map.page import MapSong, render_map
    from similarity.playlists.output import minutes

    songs = library.songs()
    points = places(library.unit, parsed.seed)
    near = nearest_rows(library, _NEAREST)
    snippets = _snippets(songs, parsed)
    sounds = snippets if snippets and len(songs) <= _MOST_EMBEDDED else _links(songs, parsed)
    drawn = [
        MapSong(name, song.recording, minutes(song.seconds), sound, nearest)
        for song, name, sound, nearest in zip(songs, _names(songs), sounds, near, strict=True)
    ]
    page = render_map(_title(library), drawn, points, _columns(songs, library, parsed.seed))
    storage.write_text(parsed.output, page)
    print(parsed.output)
    if parsed.atlas:
        from similarity.map.atlas import write_atlas

        write_atlas(parsed.atlas, songs, points, near, snippets)
        print(parsed.atlas)


def _names(songs: "Sequence[Song]") -> list[str]:
    """Artist and title; the id of songs that share them, as 01.ogg of several directories do."""
    from similarity.playlists.m3u import title_of

    titles = [title_of(song) for song in songs]
    counts = Counter(titles)
    return [
        title if counts[title] == 1 else song.recording
        for title, song in zip(titles, songs, strict=True)
    ]


def _title(library: "Library") -> str:
    return f"{len(library)} songs of {library.uri.rpartition('/')[2] or library.uri}"


def _columns(songs: "Sequence[Song]", library: "Library", seed: int) -> dict[str, list[Any]]:
    """What colours may show, without columns that say nothing."""
    from similarity.index.songs import folder_of
    from similarity.map.layout import clusters

    columns: dict[str, list[Any]] = {
        "label": [song.label for song in songs],
        "folder": [folder_of(song.recording) for song in songs],
        "artist": [song.artist for song in songs],
        "album": [song.album for song in songs],
        "key": [song.key for song in songs],
        "tempo": [song.tempo for song in songs],
        "loudness": [song.loudness for song in songs],
    }
    useful = {
        name: values for name, values in columns.items() if any(v is not None for v in values)
    }
    return useful | {"cluster": clusters(library.unit, seed)}


def _snippets(songs: "Sequence[Song]", parsed: argparse.Namespace) -> list[str | None] | None:
    """The sound of each song, for the page or the atlas; None where neither holds any."""
    if parsed.play is None or (len(songs) > _MOST_EMBEDDED and not parsed.atlas):
        return None
    from similarity.map.snippets import read_snippets

    return read_snippets(songs, parsed.play)


def _links(songs: "Sequence[Song]", parsed: argparse.Namespace) -> list[str | None]:
    """The path of each song's file as the page has it."""
    if parsed.play is not None:
        _LOG.warning(
            f"{len(songs)} songs are more than the {_MOST_EMBEDDED} whose sound a page holds; "
            "it links to the files instead"
        )
    return [_link(song.uri, parsed.output) for song in songs]


def _link(uri: str, output: str) -> str | None:
    """The path of a file as the page has it; None where there is no such file on this machine."""
    if is_remote(uri) or not os.path.isfile(uri):
        return None
    directory = os.path.dirname(os.path.abspath(output)) if not is_remote(output) else None
    path = os.path.abspath(uri) if directory is None else os.path.relpath(uri, directory)
    return quote(os.fsencode(path))


if __name__ == "__main__":
    sys.exit(main())
