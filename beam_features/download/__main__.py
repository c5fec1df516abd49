"""``python -m beam_features.download``: command line of the download.

Heavy imports wait until the arguments are valid.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from beam_features.download.catalogue import DATASETS
from dem.access import is_remote
from dem.command import Parser, run_command
from dem.errors import InputError, Terminated

_PROG = "python -m beam_features.download"


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(
        prog,
        "Download a public dataset, validate it and unpack it for the feature job. Run again, it "
        "resumes.",
        "esc50 --output data",
    )
    parser.add_argument("dataset", choices=DATASETS, help="what to download")
    parser.add_argument("--output", metavar="DIR", required=True, help="local directory")
    parser.add_argument(
        "--keep-archives",
        action="store_true",
        help="keep the zip files in DIR/<dataset>-archives; by default they are deleted",
    )
    parser.add_argument(
        "--base-url", metavar="URL", help="mirror that has the archives under their names"
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=int,
        default=5,
        help="how often to resume after a broken connection, per archive (default 5)",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    known = parse_arguments(arguments, prog)
    return run_command(lambda: _run(known), debug=known.debug)


def _run(known: argparse.Namespace) -> None:
    if known.retries < 0:
        raise InputError(f"--retries must be at least 0, not {known.retries}")
    if known.base_url is not None and not known.base_url.startswith(("http://", "https://")):
        raise InputError(f"--base-url must begin with http:// or https://, not {known.base_url!r}")
    if is_remote(known.output):
        raise InputError(
            f"--output takes a local directory, not {known.output!r}; upload the result afterwards"
        )
    output = Path(known.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output takes a directory, but {known.output!r} is a file")

    from beam_features.download.run import download

    try:
        download(
            DATASETS[known.dataset],
            output,
            base_url=known.base_url,
            retries=known.retries,
            keep_archives=known.keep_archives,
        )
    except KeyboardInterrupt as error:
        raise Terminated("interrupted; the same command resumes") from error


if __name__ == "__main__":
    sys.exit(main())
