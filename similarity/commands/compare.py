"""``dem compare``: how alike songs are, each with each."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from dem.command import Parser, run_command
from dem.errors import InputError
from similarity.commands.options import add_format, add_index, add_model, write_result

_PROG = "python -m similarity.commands.compare"


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "Compare songs: similarity from 0 (the most different of the library) to 1 (the same).",
        "A.ogg B.ogg C.ogg --index INDEX --tiles",
        "The percentile is the share of the library that is less similar than this pair.",
    )
    parser.add_argument("songs", metavar="SONG", nargs="+", help="recordings, or audio files")
    add_index(parser)
    parser.add_argument(
        "--tiles", action="store_true", help="also list the moments of each pair that match best"
    )
    add_model(parser)
    add_format(parser, "table", "json", "csv")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    from similarity.index.library import open_library
    from similarity.playlists.output import as_csv, as_json
    from similarity.search.comparison import compare_songs
    from similarity.search.query import find_queries

    if len(parsed.songs) < 2:
        raise InputError("dem compare takes two songs or more; for one, use dem similar")
    with open_library(parsed.index) as library:
        queries = find_queries(parsed.songs, library, parsed.model)
        comparison = compare_songs(queries, library, tiles=parsed.tiles)
    record: dict[str, Any] = {
        "recordings": comparison.names,
        "similarity": comparison.similarity.round(6).tolist(),
        "percentile": comparison.percentile.round(3).tolist(),
    }
    if parsed.tiles:
        record["moments"] = [vars(moment) for moment in comparison.moments]
    if parsed.format == "json":
        data = as_json(record)
    elif parsed.format == "csv":
        data = as_csv(_pairs(record))
    else:
        data = _table(record).encode(errors="surrogateescape")
    write_result(data, parsed.output)


def _pairs(record: dict[str, Any]) -> list[dict[str, Any]]:
    names = record["recordings"]
    return [
        {
            "one": one,
            "other": other,
            "similarity": record["similarity"][row][column],
            "percentile": record["percentile"][row][column],
        }
        for row, one in enumerate(names)
        for column, other in enumerate(names)
        if row < column
    ]


def _table(record: dict[str, Any]) -> str:
    from similarity.playlists.output import minutes, table

    rows = [
        {
            "similarity": f"{pair['similarity']:.3f}",
            "percentile": f"{pair['percentile']:.1f}",
            "one": pair["one"],
            "other": pair["other"],
        }
        for pair in sorted(_pairs(record), key=lambda pair: -pair["similarity"])
    ]
    text = table(rows)
    if moments := record.get("moments"):
        text += "\nmoments that match best\n" + table(
            [
                {
                    "similarity": f"{moment['similarity']:.3f}",
                    "at": minutes(moment["one_s"]),
                    "one": moment["one"],
                    "and": minutes(moment["other_s"]),
                    "other": moment["other"],
                }
                for moment in moments
            ]
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
