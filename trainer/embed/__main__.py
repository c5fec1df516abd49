"""``python -m trainer.embed``: command line that writes vectors of audio or features."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, run_command
from dem.errors import InputError
from dem.termination import watch_sigterm
from trainer.runtime.startup import load_tensorflow

_PROG = "python -m trainer.embed"


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog,
        "Write a vector for every tile of audio files or features, as Parquet.",
        "--model JOB --input recordings/ --output vectors/",
    )
    parser.add_argument(
        "--model",
        metavar="JOB|PATH",
        required=True,
        help="directory of the training, or an exported SavedModel or .keras file",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--input", metavar="URI", nargs="+", help="audio files, or directories of them"
    )
    source.add_argument("--data", metavar="FEATURES", help="features directory")
    parser.add_argument(
        "--partitions", metavar="NAME", nargs="+", help="of --data; default: all of them"
    )
    parser.add_argument("--output", metavar="DIR", required=True, help="directory for the files")
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --output")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    watch_sigterm(ctrl_c=True)  # finished files are complete
    if parsed.input and parsed.partitions:
        raise InputError("--partitions are those of --data; remove them, or give --data")
    load_tensorflow()
    from trainer.embed.run import embed_features, embed_recordings

    output, overwrite = parsed.output.rstrip("/"), parsed.overwrite
    if parsed.input:
        embed_recordings(parsed.model, parsed.input, output, overwrite=overwrite)
    else:
        embed_features(parsed.model, parsed.data, parsed.partitions, output, overwrite=overwrite)


if __name__ == "__main__":
    sys.exit(main())
