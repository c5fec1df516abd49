"""``python -m trainer.report``: command line that puts a training on one page."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import add_job_arguments, run_command
from trainer.runtime.startup import load_tensorflow


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.report",
        description="Write JOB/report.html: scores, figures, neighbours and settings on one page.",
        allow_abbrev=False,
    )
    add_job_arguments(parser, "directory of the training")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    load_tensorflow()
    from trainer.report.run import write_report

    print(write_report(parsed.data, parsed.job_dir.rstrip("/")), flush=True)


if __name__ == "__main__":
    sys.exit(main())
