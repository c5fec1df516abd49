"""``python -m trainer.crossval``: command line of the cross-validation."""

import argparse
import sys
from collections.abc import Sequence

from dem.command import (
    Parser,
    add_job_arguments,
    add_settings_arguments,
    name_in,
    run_command,
)
from dem.settings import load_settings
from dem.termination import watch_sigterm
from trainer.choices import EMBEDDING_KINDS, ENCODER_KINDS, HEADS
from trainer.config import ClassifyConfig, TrainConfig
from trainer.metrics.scores import SCORES
from trainer.runtime.cache_dir import add_cache_argument, use_cache_dir
from trainer.runtime.startup import load_tensorflow

_PROG = "python -m trainer.crossval"


def parse_arguments(arguments: Sequence[str] | None, prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line."""
    parser = Parser(
        prog,
        "Train and test encoders and classifiers over the folds of a dataset.",
        "--data FEATURES --job-dir CV --config configs/esc10.yaml --encoder none trained",
        SCORES,
    )
    add_job_arguments(parser)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--inductive",
        dest="mode",
        action="store_const",
        const="inductive",
        help="an encoder for each fold, trained on the audio of the others (the default)",
    )
    mode.add_argument(
        "--transductive",
        dest="mode",
        action="store_const",
        const="transductive",
        help="one encoder, trained on all audio without labels; the report says so",
    )
    parser.add_argument(
        "--encoder",
        choices=ENCODER_KINDS,
        nargs="+",
        default=list(EMBEDDING_KINDS),
        help=f"what turns tiles into vectors; default: {' '.join(EMBEDDING_KINDS)}",
    )
    parser.add_argument(
        "--head",
        type=name_in(HEADS),
        default="logistic",
        help=f"the classifier: {HEADS}; default: logistic",
    )
    parser.add_argument(
        "--set-classifier",
        metavar="key=value",
        nargs="+",
        action="extend",
        default=[],
        help="settings of the classifier, as --set of classify; --set is for the training",
    )
    add_cache_argument(parser)
    add_settings_arguments(parser, TrainConfig)
    parser.set_defaults(mode="inductive")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = parse_arguments(arguments, prog)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    terminated = watch_sigterm(ctrl_c=True)
    use_cache_dir(parsed.cache_dir)
    load_tensorflow()
    from dem import storage
    from trainer.crossval.run import CrossValidation
    from trainer.crossval.summary import summary_table

    config = load_settings(TrainConfig, parsed.config, parsed.set, storage.read_text)
    classifier = load_settings(ClassifyConfig, None, parsed.set_classifier, storage.read_text)
    validation = CrossValidation(
        parsed.data, parsed.job_dir.rstrip("/"), config, classifier, parsed.mode, terminated
    )
    summary = validation.run(parsed.encoder, parsed.head)
    print(summary_table(summary), flush=True)


if __name__ == "__main__":
    sys.exit(main())
