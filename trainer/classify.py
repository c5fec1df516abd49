"""``python -m trainer.classify``: command line of the classifier stage."""

import argparse
import sys
from collections.abc import Sequence

from beam_features.schema.command import add_settings_arguments, run_command
from beam_features.schema.settings import load_settings
from trainer.config import ClassifyConfig
from trainer.startup import load_tensorflow


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.classify",
        description="Fit a classifier on frozen embeddings and measure it on the test partitions.",
        allow_abbrev=False,
    )
    parser.add_argument("--data", metavar="FEATURES", required=True, help="features directory")
    parser.add_argument("--job-dir", metavar="JOB", required=True, help="directory of the training")
    parser.add_argument(
        "--encoder",
        choices=("trained", "random", "none"),
        default="trained",
        help="what turns tiles into vectors; none: mean and standard deviation per mel bin",
    )
    parser.add_argument("--head", choices=("logistic",), default="logistic", help="the classifier")
    parser.add_argument(
        "--transductive",
        action="store_true",
        help="measure a trained encoder even on recordings that it was trained on",
    )
    add_settings_arguments(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    load_tensorflow()
    from trainer import storage
    from trainer.evaluation import comparison, evaluate

    config = load_settings(ClassifyConfig, parsed.config, parsed.set, storage.read_text)
    job_dir = parsed.job_dir.rstrip("/")
    evaluate(
        parsed.data,
        job_dir,
        parsed.encoder,
        parsed.head,
        config,
        transductive=parsed.transductive,
    )
    print(comparison(job_dir), flush=True)


if __name__ == "__main__":
    sys.exit(main())
