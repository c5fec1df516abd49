"""``python -m trainer.embed``: command line that writes vectors of audio or features."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, run_command
from dem.errors import InputError, Terminated
from dem.termination import unsaved_state, watch_sigterm
from trainer.choices import EMBEDDING_KINDS
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
    parser.add_argument(
        "--max-failure-rate",
        metavar="SHARE",
        type=float,
        default=0.1,
        help="of --input: exit 1 if more than this share of the files is rejected (default: 0.1)",
    )
    parser.add_argument(
        "--encoder",
        choices=EMBEDDING_KINDS,
        default="trained",
        help="of --model JOB: random: the same untrained; none: log-mel mean and deviation; "
        "modulation: these and the modulation spectrum",
    )
    parser.add_argument("--output", metavar="DIR", required=True, help="directory for the files")
    parser.add_argument("--overwrite", action="store_true", help="embed all of it anew")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: run(parsed), debug=parsed.debug)


def run(parsed: argparse.Namespace) -> None:
    """Run the command, for programs that go on after it; errors are raised."""
    if parsed.input and parsed.partitions:
        raise InputError("--partitions are those of --data; remove them, or give --data")
    if not 0 <= parsed.max_failure_rate <= 1:
        raise InputError(f"--max-failure-rate is a share, 0 to 1, not {parsed.max_failure_rate}")
    terminated = watch_sigterm(ctrl_c=True)
    load_tensorflow()
    from trainer.embed.partitions import embed_features
    from trainer.embed.recordings import embed_recordings

    output = parsed.output.rstrip("/")

    def stop_if_terminated() -> None:
        if terminated():
            raise Terminated(f"what is embedded is saved in {output}; the same command resumes")

    how = {
        "encoder": parsed.encoder,
        "overwrite": parsed.overwrite,
        "stop_if_terminated": stop_if_terminated,
    }
    with unsaved_state():
        if parsed.input:
            rate = parsed.max_failure_rate
            embed_recordings(parsed.model, parsed.input, output, max_failure_rate=rate, **how)
        else:
            embed_features(parsed.model, parsed.data, parsed.partitions, output, **how)


if __name__ == "__main__":
    sys.exit(main())
