"""``python -m trainer.report``: command line of the report."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, add_job_arguments, run_command
from dem.termination import watch_sigterm
from trainer.runtime.startup import load_tensorflow

_PROG = "python -m trainer.report"


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog,
        "Write JOB/report.html: scores, figures, neighbours and settings on one page.",
        "--data FEATURES --job-dir JOB",
    )
    add_job_arguments(parser, "directory of the training")
    parser.add_argument("--index", metavar="INDEX", help="index of dem index that the page names")
    parser.add_argument("--map", metavar="FILE.html", help="page of dem map that the page links to")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    watch_sigterm(ctrl_c=True)
    load_tensorflow()
    from trainer.report.run import write_report

    job_dir = parsed.job_dir.rstrip("/")
    print(write_report(parsed.data, job_dir, parsed.index, parsed.map), flush=True)


if __name__ == "__main__":
    sys.exit(main())
