"""``python -m beam_features``: command line of the feature job.

Heavy imports wait until the arguments are valid.
"""

import argparse
import importlib.util
import logging
import math
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from beam_features.config import FeatureConfig
from beam_features.datasets import DATASETS
from beam_features.job.fork import ForkServer
from beam_features.job.share import COUNT, INDEX, share_of
from dem.command import Parser, add_settings_arguments, name_in, run_command
from dem.errors import InputError
from dem.termination import watch_sigterm

if TYPE_CHECKING:
    from beam_features.job.engine import Engine
    from beam_features.job.run import FeatureJob


def build_parser(prog: str) -> Parser:
    """Describe the options that are ours."""
    parser = Parser(
        prog,
        "Turn audio into sharded TFRecords of log-mel tiles. Run again, it resumes or updates.",
        "--dataset folder --input Music --output FEATURES --direct_num_workers=0",
        "Any other option goes to Apache Beam, such as --direct_num_workers=4 (processes on this "
        "machine;\n0: one per core): docs/clusters.md.",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        required=True,
        type=name_in(DATASETS),
        help=f"layout of the input, docs/datasets.md: {DATASETS}",
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
        "--shard-index",
        metavar="I",
        type=int,
        help="make only the shards I, I + N, I + 2 N, … of the plan; the last share to end "
        f"completes the output (default with --shard-count: {INDEX})",
    )
    parser.add_argument(
        "--shard-count", metavar="N", type=int, help=f"number of shares (default: {COUNT}, or one)"
    )
    parser.add_argument(
        "--max-failure-rate",
        metavar="SHARE",
        type=float,
        help="share of recordings that may be rejected (default 0.1 for folder and csv, else 0.01)",
    )
    parser.add_argument(
        "--max-duration-s",
        metavar="SECONDS",
        type=float,
        help="reject recordings that last longer (default: none)",
    )
    parser.add_argument(
        "--runner",
        metavar="NAME",
        help="what runs the workers: direct (this machine, the default), dask, or a runner of "
        "Apache Beam, such as DataflowRunner",
    )
    parser.add_argument(
        "--dask-address",
        metavar="tcp://HOST:PORT",
        help="scheduler for --runner=dask (default: worker processes on this machine)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is in --output")
    add_settings_arguments(parser, FeatureConfig)
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = "python -m beam_features") -> int:
    """Run the command; return its exit code."""
    parser = build_parser(prog)
    known, words = parser.parse_known_args(arguments)  # others are options of an engine
    return run_command(lambda: _run(known, words, parser.options), debug=known.debug)


def _run(known: argparse.Namespace, words: Sequence[str], own: Sequence[str]) -> None:
    watch_sigterm(ctrl_c=True)  # finished shards are complete files
    with ForkServer() as workers:
        processes = any(word.startswith("--direct_num_workers") for word in words)
        if processes and not _is_dask(known):
            workers.begin()  # it imports Beam while this process does
        _check(known)
        job = _job(known)
        engine = _engine(workers, known, words, own)

        from beam_features.job.run import run_job

        run_job(job, engine)


def _check(known: argparse.Namespace) -> None:
    """Refuse what needs no import to be seen.

    Raises:
        InputError: an option is missing, or its value cannot work.
    """
    if known.input is None and known.dataset != "sample":
        holder = "CSV file" if known.dataset == "csv" else "directory that holds it"
        raise InputError(f"dataset {known.dataset!r} needs --input, the {holder}")
    if known.shards is not None and known.shards < 1:
        raise InputError(f"--shards must be at least 1, not {known.shards}")
    if known.max_failure_rate is not None and not 0 <= known.max_failure_rate <= 1:
        raise InputError(f"--max-failure-rate is a share, 0 to 1, not {known.max_failure_rate}")
    if known.max_duration_s is not None and not 0 < known.max_duration_s < math.inf:
        raise InputError(f"--max-duration-s must be more than 0, not {known.max_duration_s}")
    for name, uri in (("--input", known.input), ("--output", known.output)):
        if uri == "":
            raise InputError(f"{name} is empty; give a path or a URI")


def _job(known: argparse.Namespace) -> "FeatureJob":
    """Say what is asked for.

    Raises:
        InputError: the settings or the storage cannot work.
    """
    from beam_features.job.run import FeatureJob
    from dem import storage
    from dem.settings import load_settings

    share = share_of(known.shard_index, known.shard_count, os.environ)
    if share and known.overwrite:
        raise InputError(
            f"--overwrite would delete what other shares than {share} make; delete {known.output} "
            "or choose another --output"
        )
    settings = load_settings(FeatureConfig, known.config, known.set, storage.read_text)
    if known.dataset in DATASETS and known.input is not None:
        storage.check_uri(known.input)
    return FeatureJob(
        dataset=known.dataset,
        input="sample:0" if known.input is None else known.input.rstrip("/") or "/",
        output=known.output.rstrip("/") or "/",
        spec=settings.spec,
        label_depth=settings.label_depth,
        shards=known.shards,
        max_duration_s=known.max_duration_s,
        max_failure_rate=known.max_failure_rate,
        overwrite=known.overwrite,
        share=share,
    )


def _engine(
    workers: ForkServer,
    known: argparse.Namespace,
    words: Sequence[str],
    own: Sequence[str],
) -> "Engine":
    """Choose what makes the shards.

    Raises:
        InputError: its options cannot work, or it is not installed.
    """
    if _is_dask(known):
        if not importlib.util.find_spec("distributed"):
            raise InputError(
                "--runner=dask needs Dask: install the package with its extra 'dask', such as "
                "pip install -e '.[features,dask]'"
            )
        from beam_features.job.dask_cluster import dask_engine

        return dask_engine(known.dask_address, words, own)
    if known.dask_address is not None:
        raise InputError("--dask-address is of use with --runner=dask only")

    from beam_features.job.beam import BeamEngine
    from beam_features.job.options import beam_options, check_reachable

    runner = [] if known.runner is None else [f"--runner={known.runner}"]
    options = beam_options([*runner, *words], own)
    check_reachable(options, *(uri for uri in (known.input, known.output) if uri is not None))
    if not known.debug:  # every local worker warns that it has no directory for custom types
        logging.getLogger("apache_beam.runners.portability.local_job_service").setLevel("ERROR")
    return BeamEngine(options, workers)


def _is_dask(known: argparse.Namespace) -> bool:
    return (known.runner or "").lower() in ("dask", "daskrunner")


if __name__ == "__main__":
    sys.exit(main())
