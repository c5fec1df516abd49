"""``python -m tuning``: command line of the search."""

import argparse
import signal
import sys
from collections.abc import Sequence

from dem.command import add_job_arguments, add_settings_arguments, run_command
from dem.settings import load_settings
from trainer.runtime.startup import load_tensorflow
from trainer.runtime.termination import unsaved_state, watch_sigterm
from tuning.config import TuneConfig
from tuning.workers.role import read_role


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tuning",
        description="Search training settings; each trial is one training run.",
        epilog="With KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT in the "
        "environment, this process is the chief or a worker of a search on several machines.",
        allow_abbrev=False,
    )
    add_job_arguments(parser)
    add_settings_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    terminated = watch_sigterm()
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))  # Ctrl-C saves the trial as well
    role = read_role()
    load_tensorflow()
    from trainer.runtime import storage
    from tuning.run import tune

    config = load_settings(TuneConfig, parsed.config, parsed.set, storage.read_text)
    with unsaved_state():  # so that a trial can save, and a chief can notify its workers
        tune(parsed.data, parsed.job_dir.rstrip("/"), config, role, terminated)


if __name__ == "__main__":
    sys.exit(main())
