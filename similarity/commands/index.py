"""``dem index``: build an index of recordings, or bring it up to date."""

import argparse
import sys
import tempfile
from collections.abc import Sequence

from dem import storage
from dem.command import Parser, run_command
from dem.errors import InputError
from dem.termination import watch_sigterm

_PROG = "python -m similarity.commands.index"


def build_parser(prog: str) -> Parser:
    """Describe the options."""
    parser = Parser(
        prog,
        "Build an index of recordings, or bring it up to date: only what changed is done again.",
        "--model JOB --input Music --output INDEX",
    )
    parser.add_argument("vectors", metavar="VECTORS", nargs="?", help="directory of dem embed")
    parser.add_argument("--model", metavar="JOB", help="training whose encoder embeds --input")
    parser.add_argument(
        "--input", metavar="URI", nargs="+", help="audio files, or directories of them"
    )
    parser.add_argument("--output", metavar="INDEX", required=True, help="directory of the index")
    parser.add_argument(
        "--prune", action="store_true", help="drop songs that VECTORS does not have any more"
    )
    parser.add_argument(
        "--describe",
        action="store_true",
        help="measure tempo, key and loudness of each song, to sort and filter by",
    )
    parser.add_argument(
        "--approximate",
        action="store_true",
        help="also build a graph for dem similar --approximate, for more than a million songs",
    )
    return parser


def main(arguments: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run the command; return its exit code."""
    parsed = build_parser(prog).parse_args(arguments)
    return run_command(lambda: _run(parsed), debug=parsed.debug)


def _run(parsed: argparse.Namespace) -> None:
    watch_sigterm(ctrl_c=True)
    if bool(parsed.vectors) == bool(parsed.input):
        raise InputError("give either VECTORS, or --model JOB and --input URI")
    if bool(parsed.input) != bool(parsed.model):
        raise InputError("--model and --input belong together; give both")
    output = parsed.output.rstrip("/") or "/"
    storage.check_uri(output)
    vectors = parsed.vectors
    if parsed.input:
        vectors = storage.join(output, "vectors")
        _embed(parsed.model, parsed.input, vectors)
    from similarity.index.build import Options, build_index
    from similarity.index.vectors import open_embeddings

    with tempfile.TemporaryDirectory() as scratch:
        embeddings = open_embeddings(vectors.rstrip("/"), scratch)
        options = Options(
            prune=parsed.prune or bool(parsed.input),
            describe=parsed.describe,
            approximate=parsed.approximate,
        )
        changes = build_index(embeddings, output, options)
    print(f"{output}: {len(changes.kept) + len(changes.new) + len(changes.changed)} songs")
    print(changes)


def _embed(model: str, inputs: Sequence[str], output: str) -> None:
    from trainer.embed.__main__ import parse_arguments, run  # loads TensorFlow

    words = ["--model", model, "--output", output, "--input", *inputs]
    # Files that cannot be read are warned of; they do not keep the others out of the index.
    run(parse_arguments([*words, "--max-failure-rate", "1"]))


if __name__ == "__main__":
    sys.exit(main())
