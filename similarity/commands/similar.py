"""``dem similar``: the songs most like one or several others."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, run_command
from dem.errors import InputError
from similarity.commands.options import add_format, add_index, add_model, paths_from, write_result

_PROG = "python -m similarity.commands.similar"
_REDUCTIONS = ("mutual-proximity", "csls", "none")


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "List the songs most like SONG, or like several songs together.",
        "Choice.ogg --index INDEX -k 5",
        "SONG is a recording of the index (its id, its path, or the end of one), or an audio file.",
    )
    parser.add_argument("songs", metavar="SONG", nargs="+", help="what results shall be like")
    add_index(parser)
    parser.add_argument("-k", metavar="N", type=int, default=10, help="how many (default 10)")
    parser.add_argument(
        "--not",
        dest="against",
        metavar="SONG",
        nargs="+",
        default=[],
        help="what results shall not be like",
    )
    parser.add_argument("--per-artist", metavar="N", type=int, help="at most N of an artist")
    parser.add_argument("--per-album", metavar="N", type=int, help="at most N of an album")
    parser.add_argument(
        "--no-duplicates", action="store_true", help="leave out other copies of a recording"
    )
    parser.add_argument(
        "--hubs",
        choices=_REDUCTIONS,
        default="mutual-proximity",
        help="how songs that are near to everything are held back (default mutual-proximity)",
    )
    parser.add_argument(
        "--where",
        metavar="key=value",
        nargs="+",
        action="extend",
        default=[],
        help="only songs with this: label=jazz, artist!=Ada, tempo=90..110",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="compare only with songs that the index's graph finds; exact where they are too few",
    )
    add_model(parser)
    add_format(parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    from similarity.index.library import open_library
    from similarity.playlists.output import Listed, record_of, render
    from similarity.search.query import find_queries
    from similarity.search.similar import Wish, find_similar, parse_condition

    for name in ("k", "per_artist", "per_album"):
        value = getattr(parsed, name)
        if value is not None and value < 1:
            option = "-k" if name == "k" else f"--{name.replace('_', '-')}"
            raise InputError(f"{option} must be at least 1, not {value}")
    wish = Wish(
        parsed.k,
        parsed.per_artist,
        parsed.per_album,
        parsed.no_duplicates,
        tuple(map(parse_condition, parsed.where)),
        parsed.hubs,
        parsed.approximate,
    )
    with open_library(parsed.index) as library:
        found = find_queries([*parsed.songs, *parsed.against], library, parsed.model)
        queries, against = found[: len(parsed.songs)], found[len(parsed.songs) :]
        results = find_similar(queries, library, wish, against)
    rows = [Listed(result.song, {"similarity": result.similarity}) for result in results]
    about = {
        "query": [query.name for query in queries],
        **({"not": [query.name for query in against]} if against else {}),
        "results": [record_of(row) for row in rows],
    }
    write_result(render(rows, parsed.format, about, paths_from(parsed)), parsed.output)


if __name__ == "__main__":
    sys.exit(main())
