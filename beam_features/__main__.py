"""``python -m beam_features``: command line of the feature job.

Heavy imports wait until the arguments are valid.
"""

import argparse
import logging
import math
import sys
from collections.abc import Sequence

from dem.command import add_settings_arguments, run_command
from dem.errors import InputError
from dem.termination import watch_sigterm

_DATASETS = ("folder", "csv", "esc50", "dcase2018-task5", "fma", "sample")


def parse_arguments(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Split the command line into our arguments and Beam's."""
    parser = argparse.ArgumentParser(
        prog="python -m beam_features",
        description="Turn audio into sharded TFRecords of log-mel tiles.",
        epilog="Any other option goes to Apache Beam, such as --runner=DataflowRunner or "
        "--direct_num_workers=4: docs/clusters.md.",
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
    watch_sigterm(ctrl_c=True)  # finished shards are complete files
    from beam_features.job.run import FeatureJob, run_job
    from beam_features.job.runners import beam_options, check_reachable
    from beam_features.schema.feature_spec import FeatureSpec
    from dem import storage
    from dem.settings import load_settings

    if known.input is None and known.dataset != "sample":
        holder = "CSV file" if known.dataset == "csv" else "directory that holds it"
        raise InputError(f"dataset {known.dataset!r} needs --input, the {holder}")
    if known.shards is not None and known.shards < 1:
        raise InputError(f"--shards must be at least 1, not {known.shards}")
    if not 0 <= known.max_failure_rate <= 1:
        raise InputError(f"--max_failure_rate is a share, 0 to 1, not {known.max_failure_rate}")
    if known.max_duration_s is not None and not 0 < known.max_duration_s < math.inf:
        raise InputError(f"--max_duration_s must be more than 0, not {known.max_duration_s}")
    for name, uri in (("--input", known.input), ("--output", known.output)):
        if uri == "":
            raise InputError(f"{name} is empty; give a path or a URI")
    options = beam_options(beam_arguments)
    job = FeatureJob(
        dataset=known.dataset,
        input="sample:0" if known.input is None else known.input.rstrip("/") or "/",
        output=known.output.rstrip("/") or "/",
        spec=load_settings(FeatureSpec, known.config, known.set, storage.read_text),
        shards=known.shards,
        max_duration_s=known.max_duration_s,
        max_failure_rate=known.max_failure_rate,
        overwrite=known.overwrite,
    )
    check_reachable(options, job.input, job.output)
    if not known.debug:  # every local worker warns that it has no directory for custom types
        logging.getLogger("apache_beam.runners.portability.local_job_service").setLevel("ERROR")
    run_job(job, options)


if __name__ == "__main__":
    sys.exit(main())
