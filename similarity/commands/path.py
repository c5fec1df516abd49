"""``dem path``: songs that lead from one to another."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, run_command
from dem.errors import InputError
from similarity.commands.options import add_format, add_index, paths_from, write_order

_PROG = "python -m similarity.commands.path"


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "List songs that lead from one to another, each like the next.",
        "Waltz.ogg Drums.ogg --index INDEX --count 8 --format m3u8",
    )
    parser.add_argument("start", metavar="FROM", help="the first song, a recording of the index")
    parser.add_argument("end", metavar="TO", help="the last song")
    add_index(parser)
    parser.add_argument(
        "--count", metavar="N", type=int, default=25, help="songs, both ends included (default 25)"
    )
    parser.add_argument(
        "--via", metavar="SONG", nargs="+", default=[], help="songs to pass on the way, in order"
    )
    parser.add_argument(
        "--variety",
        metavar="SHARE",
        type=float,
        default=0.0,
        help="0 to 1: how much songs shall differ from those before (default 0)",
    )
    add_format(parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    from similarity.index.library import open_library
    from similarity.order.steps import path_rows
    from similarity.search.query import find_known

    words = [parsed.start, *parsed.via, parsed.end]
    if not 0 <= parsed.variety <= 1:
        raise InputError(f"--variety is 0 to 1, not {parsed.variety}")
    if parsed.count < len(words):
        raise InputError(
            f"--count {parsed.count} is less than the {len(words)} songs that are named"
        )
    with open_library(parsed.index) as library:
        stops = [find_known(word, library) for word in words]
        if len(set(stops)) < len(stops):
            raise InputError("FROM, TO and --via must be different songs")
        rows = path_rows(library.unit, stops, parsed.count, parsed.variety)
        write_order(library, rows, parsed.format, paths_from(parsed), parsed.output)


if __name__ == "__main__":
    sys.exit(main())
