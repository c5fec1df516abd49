"""``dem evaluate``: how well an index retrieves, how many hubs it has, how smooth orders are."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from dem import storage
from dem.command import Parser, run_command
from dem.errors import InputError
from similarity.commands.options import add_index

_PROG = "python -m similarity.commands.evaluate"
EVALUATION = "evaluation.json"


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "Measure how well an index retrieves, how many hubs it has, and how smooth orders are.",
        "--index INDEX --groups label,artist --output evaluation --rival log-mel=INDEX2",
        "Songs of the query's own session never count as found, as they are of the same source.",
    )
    add_index(parser)
    parser.add_argument(
        "--groups",
        metavar="KEY,KEY",
        help="columns that say which songs belong together (default: label and artist, if known)",
    )
    parser.add_argument(
        "--exclude-same",
        metavar="KEY",
        default="session",
        help="songs that share this with the query are left out (default session)",
    )
    parser.add_argument(
        "--rival",
        metavar="NAME=INDEX",
        nargs="+",
        default=[],
        help="other indexes of the same songs, to compare with",
    )
    parser.add_argument("-k", metavar="N", type=int, default=10, help="how many (default 10)")
    parser.add_argument("--output", metavar="DIR", required=True, help="gets evaluation.json")
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    if parsed.k < 1:
        raise InputError(f"-k must be at least 1, not {parsed.k}")
    indexes = {"index": parsed.index} | dict(_named(word) for word in parsed.rival)
    results = {name: _evaluate(uri, parsed) for name, uri in indexes.items()}
    uri = storage.join(parsed.output, EVALUATION)
    storage.write_text(uri, json.dumps(results, indent=2) + "\n")
    print(_table(results))
    print(uri)


def _named(word: str) -> tuple[str, str]:
    name, equals, uri = word.partition("=")
    if not (name and equals and uri) or name == "index":
        raise InputError(f"--rival takes NAME=INDEX, not {word!r}")
    return name, uri


def _evaluate(uri: str, parsed: argparse.Namespace) -> dict[str, Any]:
    from similarity.evaluate.run import evaluate
    from similarity.index.library import open_library

    with open_library(uri) as library:
        known = [name for name in ("label", "artist") if any(library.column(name))]
        groups = parsed.groups.split(",") if parsed.groups else known
        return evaluate(library, groups, parsed.exclude_same, parsed.k)


def _table(results: dict[str, Any]) -> str:
    from similarity.playlists.output import table

    rows = [row for name, result in results.items() for row in _retrieval_rows(name, result)]
    hubs = [
        {
            "vectors": name,
            "hubs": reduction,
            "skewness": "" if hub["skewness"] is None else f"{hub['skewness']:.2f}",
            "in no list": f"{hub['nowhere']:.3f}",
            "largest": f"{hub['largest']:.3f}",
        }
        for name, result in results.items()
        for reduction, hub in result["hubs"].items()
    ]
    orders = [
        {
            "vectors": name,
            "order": order,
            "mean step": f"{steps['mean']:.3f}",
            "95 %": f"{steps['percentile_95']:.3f}",
        }
        for name, result in results.items()
        for order, steps in result["orders"].items()
    ]
    return "\n".join(table(part) for part in (rows, hubs, orders) if part).rstrip()


def _retrieval_rows(name: str, result: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "vectors": name,
            "group": group,
            "hubs": reduction,
            "candidates": candidates,
            "queries": str(found["queries"]),
            f"precision@{result['k']}": _interval(found["precision"]),
            f"recall@{result['k']}": _interval(found["recall"]),
            "MAP": _interval(found["average_precision"]),
        }
        for group, by_reduction in result["groups"].items()
        for reduction, by_filter in by_reduction.items()
        for candidates, found in by_filter.items()
    ]


def _interval(estimate: dict[str, float] | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['mean']:.3f} ({estimate['low']:.3f}-{estimate['high']:.3f})"


if __name__ == "__main__":
    sys.exit(main())
