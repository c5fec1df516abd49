"""``dem duplicates``: recordings that are in the library more than once."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, run_command
from similarity.commands.options import add_format, add_index, write_result

_PROG = "python -m similarity.commands.duplicates"


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "List recordings that are in the library more than once.",
        "--index INDEX",
        "Two files are one recording if their decoded samples are equal, or if they sound the\n"
        "same and are as long, within 2 %.",
    )
    add_index(parser)
    add_format(parser, "table", "json", "csv")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    from similarity.index.library import open_library
    from similarity.playlists.output import as_csv, as_json, table
    from similarity.search.duplicates import duplicate_groups

    with open_library(parsed.index) as library:
        groups = [[library.song(row) for row in rows] for rows in duplicate_groups(library)]
    rows = [
        {
            "group": str(number),
            "same": "samples" if _equal(song.samples_sha256, group[0].samples_sha256) else "sound",
            "bytes": str(song.bytes),
            "recording": song.recording,
        }
        for number, group in enumerate(groups, start=1)
        for song in group
    ]
    if parsed.format == "json":
        names = [[song.recording for song in group] for group in groups]
        data = as_json({"groups": names, "songs": rows})
    elif parsed.format == "csv":
        data = as_csv(rows, ("group", "same", "bytes", "recording"))
    else:
        data = (table(rows) or "no duplicates\n").encode(errors="surrogateescape")
    write_result(data, parsed.output)


def _equal(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


if __name__ == "__main__":
    sys.exit(main())
