"""Options and output that the commands of the library share."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dem import storage
from dem.access import is_remote
from dem.command import Parser

if TYPE_CHECKING:
    from similarity.index.library import Library


FORMATS = ("table", "json", "csv", "m3u8", "jspf")


def add_index(parser: Parser) -> None:
    """Add ``--index``."""
    parser.add_argument("--index", metavar="INDEX", required=True, help="directory of dem index")


def add_model(parser: Parser) -> None:
    """Add ``--model``, for audio files outside of the index."""
    parser.add_argument(
        "--model",
        metavar="JOB",
        help="training that made the index, to embed audio files outside of it "
        "(default: where it was then)",
    )


def add_format(parser: Parser, *forms: str) -> None:
    """Add ``--format`` and ``--output``, and for playlists what their paths are relative to."""
    forms = forms or FORMATS
    parser.add_argument(
        "--format",
        metavar="NAME",
        choices=forms,
        default="table",
        help=f"one of {', '.join(forms)}",
    )
    parser.add_argument("--output", metavar="FILE", help="write there (default: to stdout)")
    if "m3u8" in forms:
        paths = parser.add_mutually_exclusive_group()
        paths.add_argument(
            "--relative-to",
            metavar="DIR",
            help="directory that paths start from (default: that of the playlist, or the current)",
        )
        paths.add_argument("--absolute", action="store_true", help="write absolute paths")


def paths_from(parsed: argparse.Namespace) -> str | None:
    """The directory that the paths of a playlist are relative to; None: absolute."""
    if parsed.absolute:
        return None
    if parsed.relative_to is not None:
        return str(parsed.relative_to)
    if parsed.output and not is_remote(parsed.output):
        return str(parsed.output).rpartition("/")[0] or "."
    return None if parsed.output else "."


def write_result(data: bytes, output: str | None) -> None:
    """Write to a file, or to stdout byte for byte."""
    if output:
        storage.write_bytes(output, data)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def write_order(
    library: "Library",
    rows: Sequence[int | str],
    form: str,
    relative_to: str | None,
    output: str | None,
) -> None:
    """Write songs in order, with the similarity of each to the one before it.

    Args:
        library: the index.
        rows: of songs; the path of a file that is not in the index.
        form: of the output.
        relative_to: directory that the paths of playlists start from; None: absolute.
        output: file; None: stdout.
    """
    from similarity.index.songs import Song
    from similarity.order.transitions import transitions
    from similarity.playlists.output import Listed, record_of, render

    steps = transitions(library, [row if isinstance(row, int) else None for row in rows])
    songs = [library.song(row) if isinstance(row, int) else Song(row, row, "") for row in rows]
    listed = [
        Listed(song, {} if step is None else {"transition": step})
        for song, step in zip(songs, steps.similarities, strict=True)
    ]
    about = {
        "recordings": [song.recording for song in songs],
        "mean_transition": steps.mean,
        "songs": [record_of(row) for row in listed],
    }
    write_result(render(listed, form, about, relative_to), output)
