"""Command line of the feature job. Heavy imports wait until the arguments are known to be good."""

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beam_features.schema.command import add_settings_arguments, run_command
from beam_features.schema.errors import InputError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

_DATASETS = ("folder", "csv", "esc50", "dcase2018-task5", "fma", "sample")


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into our arguments and Beam's."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_features",
        description="Turn audio into sharded TFRecords of log-mel tiles.",
        epilog="Any other option goes to Apache Beam, such as --runner=DataflowRunner or "
        "--direct_num_workers=4.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--dataset", required=True, choices=_DATASETS, help="layout of the input: docs/datasets.md"
    )
    parser.add_argument(
        "--input", metavar="URI", help="directory (csv: the table; sample: sample:SEED)"
    )
    parser.add_argument("--output", metavar="URI", required=True, help="directory for the shards")
    parser.add_argument(
        "--shards",
        metavar="N",
        type=int,
        help="shards per partition (default: one per 100 recordings, at least 4)",
    )
    parser.add_argument(
        "--max_failure_rate",
        metavar="SHARE",
        type=float,
        default=0.01,
        help="share of recordings that may be rejected (default 0.01)",
    )
    parser.add_argument(
        "--max_duration_s",
        metavar="SECONDS",
        type=float,
        help="reject recordings that last longer (default: none)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what the output holds")
    add_settings_arguments(parser)
    return parser.parse_known_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    known, beam_arguments = parse_arguments(arguments)
    return run_command(lambda: _run(known, beam_arguments), debug=known.debug)


def _run(known: argparse.Namespace, beam_arguments: Sequence[str]) -> None:
    from beam_features import storage
    from beam_features.job import FeatureJob, run_job
    from beam_features.schema.feature_spec import FeatureSpec
    from beam_features.schema.settings import load_settings

    if known.input is None and known.dataset != "sample":
        holder = "CSV file" if known.dataset == "csv" else "directory that holds it"
        raise InputError(f"dataset {known.dataset!r} needs --input, the {holder}")
    if known.shards is not None and known.shards < 1:
        raise InputError(f"--shards must be at least 1, not {known.shards}")
    if not 0 <= known.max_failure_rate <= 1:
        raise InputError(f"--max_failure_rate is a share, 0 to 1, not {known.max_failure_rate}")
    if known.max_duration_s is not None and not known.max_duration_s > 0:
        raise InputError(f"--max_duration_s must be more than 0, not {known.max_duration_s}")
    options = beam_options(beam_arguments)
    job = FeatureJob(
        dataset=known.dataset,
        input=(known.input or "sample:0").rstrip("/"),
        output=known.output.rstrip("/"),
        spec=load_settings(FeatureSpec, known.config, known.set, storage.read_text),
        shards=known.shards,
        max_duration_s=known.max_duration_s,
        max_failure_rate=known.max_failure_rate,
        overwrite=known.overwrite,
    )
    if not known.debug:  # every local worker warns that it has no directory for custom types
        logging.getLogger("apache_beam.runners.portability.local_job_service").setLevel("ERROR")
    run_job(job, options)


def beam_options(arguments: Sequence[str]) -> "PipelineOptions":
    """Beam's options, with a local runner that needs no download.

    `DirectRunner` stands for a choice that Beam makes: it tries to fetch the binary of another
    runner first. Asked for it, or for nothing, we take `FnApiRunner`, its portable fallback. More
    than one local worker means processes, since decoding holds Python's lock for part of its time.

    Raises:
        InputError: no part of Beam knows an option.
    """
    from apache_beam.options.pipeline_options import (
        DirectOptions,
        PipelineOptions,
        StandardOptions,
    )

    _refuse_unknown(arguments)
    options = PipelineOptions(list(arguments))
    standard, direct = options.view_as(StandardOptions), options.view_as(DirectOptions)
    if (standard.runner or "DirectRunner").lower() in ("direct", "directrunner"):
        standard.runner = "FnApiRunner"
    if direct.direct_num_workers != 1 and direct.direct_running_mode == "in_memory":
        direct.direct_running_mode = "multi_processing"
    return options


def _refuse_unknown(arguments: Sequence[str]) -> None:
    """Beam itself drops options that it does not know with a mere log line."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001 - Beam's documented hook
    unknown = parser.parse_known_args(list(arguments))[1]
    if unknown:
        raise InputError(f"unknown option {unknown[0]!r}; neither --help nor Apache Beam lists it")
