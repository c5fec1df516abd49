"""``python -m tuning``: command line of the search."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import Parser, add_job_arguments, add_settings_arguments, run_command
from dem.settings import load_settings
from dem.termination import unsaved_state, watch_sigterm
from trainer.runtime.cache_dir import add_cache_argument, use_cache_dir
from trainer.runtime.startup import load_tensorflow
from tuning.config import TuneConfig
from tuning.workers.role import read_role

_PROG = "python -m tuning"


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog,
        "Search for good training settings; each trial is a training run.",
        "--data FEATURES --job-dir SEARCH --config configs/tune.yaml --set trials=20",
        "With KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT in the "
        "environment, this process is the chief or a worker of a search on several machines; "
        "DEM_SEARCH_TOKEN must be the same for all of them.",
    )
    add_job_arguments(parser)
    add_cache_argument(parser)
    add_settings_arguments(parser, TuneConfig)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    terminated = watch_sigterm(ctrl_c=True)
    role = read_role()
    use_cache_dir(parsed.cache_dir)
    load_tensorflow()
    from dem import storage
    from tuning.run import tune

    config = load_settings(TuneConfig, parsed.config, parsed.set, storage.read_text)
    with unsaved_state():  # so that a trial can save, and a chief can notify its workers
        tune(parsed.data, parsed.job_dir.rstrip("/"), config, role, terminated)


if __name__ == "__main__":
    sys.exit(main())
