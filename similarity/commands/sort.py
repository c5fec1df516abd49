"""``dem sort``: order the songs of a playlist or a directory so that each is like the next.

The result has the same entries: nothing is lost, and nothing is there twice that was there once.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dem import storage
from dem.access import is_remote
from dem.command import Parser, run_command
from dem.errors import InputError, JobError
from similarity.commands.options import add_format, add_index, paths_from, write_order

if TYPE_CHECKING:
    from similarity.index.library import Library

_LOG = logging.getLogger(__name__)
_PROG = "python -m similarity.commands.sort"
_MOST_SONGS = 20_000  # their distances take 3 GB


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "Order songs so that each is like the next.",
        "party.m3u8 --index INDEX --output sorted.m3u8 --format m3u8",
    )
    parser.add_argument(
        "songs", metavar="PLAYLIST|DIR|-", help="an M3U playlist, a directory, or - for stdin"
    )
    add_index(parser)
    parser.add_argument("--first", metavar="SONG", help="start with it")
    parser.add_argument("--last", metavar="SONG", help="end with it")
    parser.add_argument(
        "--by",
        metavar="KEY",
        default="similarity",
        help="similarity (default), or a column of the index such as tempo, artist, title",
    )
    parser.add_argument(
        "--method",
        choices=("walk", "leaves"),
        default="walk",
        help="of similarity: a short walk (default), or the leaves of a tree of clusters",
    )
    parser.add_argument(
        "--artist-gap",
        metavar="N",
        type=int,
        default=0,
        help="at least N songs between two of one artist, where possible (default 0)",
    )
    parser.add_argument(
        "--unknown",
        choices=("keep", "list", "refuse"),
        default="keep",
        help="entries that are not in the index: keep them in their places (default), list them on "
        "stderr and leave them out, or refuse",
    )
    add_format(parser)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    from similarity.index.library import open_library

    if parsed.artist_gap < 0:
        raise InputError(f"--artist-gap must be 0 or more, not {parsed.artist_gap}")
    with open_library(parsed.index) as library:
        entries = read_entries(parsed.songs)
        if not entries:
            raise InputError(f"{parsed.songs!r} names no songs")
        rows = [_row_of(entry, library) for entry in entries]
        known = [row for row in rows if row is not None]
        unknown = [entry for entry, row in zip(entries, rows, strict=True) if row is None]
        _report_unknown(unknown, parsed.unknown, library.uri)
        if len(set(known)) > _MOST_SONGS:
            raise InputError(
                f"{len(known)} songs are more than the {_MOST_SONGS} that can be sorted"
            )
        order = _with_repeats(known, _ordered(list(dict.fromkeys(known)), library, parsed))
        if sorted(order) != sorted(known):
            raise JobError("the order is no permutation of the songs; please report this")
        result: list[int | str] = list(order)
        if parsed.unknown == "keep":
            sorted_rows = iter(order)
            result = [
                entry if row is None else next(sorted_rows)
                for entry, row in zip(entries, rows, strict=True)
            ]
        write_order(library, result, parsed.format, paths_from(parsed), parsed.output)


def read_entries(source: str) -> list[str]:
    """Absolute paths or URIs of a playlist, of the audio files of a directory, or of stdin.

    Raises:
        InputError: it does not exist.
    """
    from beam_features.schema.audio.files import AUDIO_SUFFIXES
    from similarity.playlists.m3u import parse_m3u, resolve

    if source == "-":
        return [resolve(entry, ".") for entry in parse_m3u(sys.stdin.buffer.read())]
    if storage.is_directory(source):
        return [uri for uri in storage.list_files(source) if uri.lower().endswith(AUDIO_SUFFIXES)]
    if not storage.is_file(source):
        raise InputError(f"{source!r} does not exist; give a playlist, a directory, or -")
    directory = source.rpartition("/")[0] or "."
    return [resolve(entry, directory) for entry in parse_m3u(storage.read_bytes(source))]


def _row_of(entry: str, library: "Library") -> int | None:
    """The row of a path; or of an id, where a program wrote ids to stdin."""
    path = entry if is_remote(entry) else os.path.abspath(entry)
    row = library.row_of_uri.get(path)
    return row if row is not None else library.row_of.get(os.path.relpath(path))


def _report_unknown(entries: Sequence[str], choice: str, index: str) -> None:
    if not entries:
        return
    count = f"{len(entries)} of the songs are not in {index}"
    if choice == "refuse":
        raise InputError(f"{count}, such as {entries[0]!r}; index them, or choose --unknown keep")
    if choice == "keep":
        _LOG.warning(f"{count}, such as {entries[0]!r}; they stay in their places")
        return
    _LOG.warning(f"{count} and are left out:")
    for entry in entries:
        _LOG.warning(entry)


def _with_repeats(rows: Sequence[int], order: Sequence[int]) -> list[int]:
    """Give songs that a playlist has twice as often in the order, one after the other."""
    counts = dict.fromkeys(order, 0)
    for row in rows:
        counts[row] += 1
    return [row for row in order for _ in range(counts[row])]


def _ordered(rows: list[int], library: "Library", parsed: argparse.Namespace) -> list[int]:
    """Order the rows as the options say."""
    import numpy as np

    from similarity.index.songs import numbered
    from similarity.order.tour import Ends, leaf_order, shortest_order
    from similarity.search.query import find_known

    if not rows:
        return []
    if parsed.by != "similarity":
        values = library.column(parsed.by)
        return sorted(rows, key=lambda row: (values[row] is None, values[row] or 0, row))
    ends = []
    for option in (parsed.first, parsed.last):
        row = None if option is None else find_known(option, library)
        if row is not None and row not in rows:
            raise InputError(f"{option!r} is not among the songs to sort")
        ends.append(None if row is None else rows.index(row))
    if ends[0] is not None and ends[0] == ends[1] and len(rows) > 1:
        raise InputError("--first and --last must be different songs")
    unit = library.unit[np.array(rows)]
    distances = np.maximum(1 - unit @ unit.T, 0)
    if parsed.method == "leaves":
        if parsed.artist_gap or any(end is not None for end in ends):
            raise InputError("--method leaves takes no --first, --last or --artist-gap")
        places = leaf_order(distances)
    else:
        artists = numbered(library.column("artist"))[rows].tolist()
        places = shortest_order(distances, Ends(*ends), artists, parsed.artist_gap)
    return [rows[place] for place in places]


if __name__ == "__main__":
    sys.exit(main())
