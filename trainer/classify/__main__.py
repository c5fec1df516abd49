"""``python -m trainer.classify``: command lines that fit a classifier, and label audio with it."""

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
from trainer.choices import ENCODER_KINDS, HEADS
from trainer.config import ClassifyConfig
from trainer.metrics.scores import SCORES
from trainer.runtime.cache_dir import add_cache_argument, use_cache_dir
from trainer.runtime.startup import load_tensorflow

_PROG = "python -m trainer.classify"
_PREDICT = "predict"


def parse_arguments(words: Sequence[str], prog: str = _PROG) -> argparse.Namespace:
    """Parse the command line that fits and tests a classifier."""
    parser = Parser(
        prog,
        "Fit a classifier on frozen embeddings and test it on the test partitions.",
        "--data FEATURES --job-dir JOB --encoder trained --set recording_from=vectors",
        f"{prog} {_PREDICT} labels new audio with the result; see its --help.\n\n{SCORES}",
    )
    add_job_arguments(parser, "directory of the training")
    parser.add_argument(
        "--encoder",
        choices=ENCODER_KINDS,
        default="trained",
        help="what turns tiles into vectors; none: mean and standard deviation per mel bin; "
        "modulation: these and the modulation spectrum, nothing learned; "
        "supervised: the same architecture, trained with the labels of the training partitions; "
        "default: trained",
    )
    parser.add_argument(
        "--head",
        type=name_in(HEADS),
        default="logistic",
        help=f"the classifier: {HEADS}; default: logistic",
    )
    parser.add_argument(
        "--transductive",
        action="store_true",
        help="test a trained encoder even on recordings that it was trained on",
    )
    add_cache_argument(parser)
    add_settings_arguments(parser, ClassifyConfig)
    return parser.parse_args(words)


def parse_predict_arguments(words: Sequence[str], prog: str) -> argparse.Namespace:
    """Parse the command line that labels audio."""
    parser = Parser(
        prog,
        "Label audio files; a table of labels and posteriors is printed as CSV.",
        "--model JOB/classifier/trained-logistic recordings/ > labels.csv",
    )
    parser.add_argument(
        "--model",
        metavar="JOB/classifier/RUN",
        required=True,
        help="directory of a classifier run; only from a source you trust: it may contain a pickle",
    )
    parser.add_argument("files", metavar="FILE", nargs="+", help="audio files, or directories")
    return parser.parse_args(words)


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == [_PREDICT]:
        parsed = parse_predict_arguments(words[1:], f"{prog} {_PREDICT}")
        return run_command(lambda: _predict(parsed), debug=parsed.debug)
    parsed = parse_arguments(words, prog)
    return run_command(lambda: _evaluate(parsed), debug=parsed.debug)


def _predict(parsed: argparse.Namespace) -> None:
    watch_sigterm(ctrl_c=True)
    load_tensorflow()
    from trainer.classify.predict import label_recordings

    label_recordings(parsed.model.rstrip("/"), parsed.files, sys.stdout)


def _evaluate(parsed: argparse.Namespace) -> None:
    watch_sigterm(ctrl_c=True)
    use_cache_dir(parsed.cache_dir)
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
