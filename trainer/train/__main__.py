"""``python -m trainer.train``: command line of the training stage."""

import argparse
import json
import sys
from collections.abc import Sequence

from dem.command import Parser, add_job_arguments, add_settings_arguments, run_command
from dem.guard import go_on_in_child
from dem.settings import load_settings
from dem.termination import watch_sigterm
from trainer.config import TrainConfig
from trainer.runtime.cache_dir import add_cache_argument, use_cache_dir
from trainer.runtime.startup import load_tensorflow
from trainer.train.tf_config import join_indexed_job, read_cluster

_PROG = "python -m trainer.train"


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog,
        "Train an embedding of log-mel tiles without labels. Run again, it resumes from the last "
        "checkpoint.",
        "--data FEATURES --job-dir JOB --config configs/demo.yaml --set epochs=5 margin=0.3",
    )
    add_job_arguments(parser)
    parser.add_argument(
        "--init",
        metavar="JOB|encoder.keras",
        help="start from the encoder of a finished training, weights only; short for --set init=…",
    )
    add_cache_argument(parser)
    add_settings_arguments(parser, TrainConfig)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    terminated = watch_sigterm(ctrl_c=True)
    join_indexed_job()
    if read_cluster().workers > 1:
        go_on_in_child()
    use_cache_dir(parsed.cache_dir)
    load_tensorflow()
    from dem import storage
    from trainer.train.run import train

    init = [f"init={json.dumps(parsed.init.rstrip('/'))}"] if parsed.init else []
    config = load_settings(TrainConfig, parsed.config, parsed.set + init, storage.read_text)
    train(parsed.data, parsed.job_dir.rstrip("/"), config, terminated)


if __name__ == "__main__":
    sys.exit(main())
