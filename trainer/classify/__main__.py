"""``python -m trainer.classify``: command line of the classifier stage, and of its models."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import add_job_arguments, add_settings_arguments, run_command
from dem.settings import load_settings
from trainer.config import ClassifyConfig
from trainer.runtime.startup import load_tensorflow

_PREDICT = "predict"


def parse_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line that fits and measures."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.classify",
        description="Fit a classifier on frozen embeddings and measure it on the test partitions.",
        epilog=f"python -m trainer.classify {_PREDICT} --help: label new audio with the result",
        allow_abbrev=False,
    )
    add_job_arguments(parser, "directory of the training")
    parser.add_argument(
        "--encoder",
        choices=("trained", "random", "none", "supervised"),
        default="trained",
        help="what turns tiles into vectors; none: mean and standard deviation per mel bin; "
        "supervised: the same architecture, trained with the labels of the training partitions",
    )
    parser.add_argument(
        "--head", choices=("logistic", "dense"), default="logistic", help="the classifier"
    )
    parser.add_argument(
        "--transductive",
        action="store_true",
        help="measure a trained encoder even on recordings that it was trained on",
    )
    add_settings_arguments(parser)
    return parser.parse_args(words)


def parse_predict_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse the command line that labels."""
    parser = argparse.ArgumentParser(
        prog=f"python -m trainer.classify {_PREDICT}",
        description="Label audio files; a table of labels and posteriors goes to stdout, as CSV.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--model",
        metavar="JOB/classifier/RUN",
        required=True,
        help="directory of a classifier run; from people you trust only, as it may hold a pickle",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio files, or directories")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser.parse_args(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == [_PREDICT]:
        parsed = parse_predict_arguments(words[1:])
        return run_command(lambda: _predict(parsed), debug=parsed.debug)
    parsed = parse_arguments(words)
    return run_command(lambda: _evaluate(parsed), debug=parsed.debug)


def _predict(parsed: argparse.Namespace) -> None:
    load_tensorflow()
    from trainer.classify.predict import label_recordings

    label_recordings(parsed.model.rstrip("/"), parsed.files, sys.stdout)


def _evaluate(parsed: argparse.Namespace) -> None:
    load_tensorflow()
    from dem import storage
    from trainer.classify.run import comparison, evaluate

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
