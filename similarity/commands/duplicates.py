"""``dem duplicates``: recordings that are in the library more than once."""

import argparse
import csv
import io
import json
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
        data = json.dumps({"groups": names, "songs": rows}, indent=2) + "\n"
    elif parsed.format == "csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, ["group", "same", "bytes", "recording"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue()
    else:
        from similarity.playlists.output import table

        data = table(rows) or "no duplicates\n"
    write_result(data.encode(errors="surrogateescape"), parsed.output)


def _equal(one: str | None, other: str | None) -> bool:
    return one is not None and one == other


if __name__ == "__main__":
    sys.exit(main())
