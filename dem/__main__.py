"""``dem``: one command for all stages; ``python -m dem`` is the same.

It imports a stage only when that stage is run, so that ``dem --help`` answers at once.
"""

import importlib
import sys
from collections.abc import Sequence

from dem import __version__
from dem.errors import ExitCode, unknown_name

COMMANDS = {  # module, and what it does
    "download": ("beam_features.download.__main__", "download a public dataset"),
    "features": ("beam_features.__main__", "turn audio into features: shards of log-mel tiles"),
    "train": ("trainer.train.__main__", "train an encoder on features, without labels"),
    "classify": ("trainer.classify.__main__", "fit and test a classifier, or label new audio"),
    "crossval": ("trainer.crossval.__main__", "cross-validate over the folds of a dataset"),
    "embed": ("trainer.embed.__main__", "write a vector per tile of audio or features"),
    "report": ("trainer.report.__main__", "write the results of a training job on one page"),
    "index": ("similarity.commands.index", "build an index of recordings"),
    "compare": ("similarity.commands.compare", "say how alike recordings are"),
    "similar": ("similarity.commands.similar", "list the recordings most like others"),
    "sort": ("similarity.commands.sort", "order songs so that each is like the next"),
    "path": ("similarity.commands.path", "list songs that lead from one to another"),
    "map": ("similarity.commands.map", "draw the recordings as points that play"),
    "evaluate": ("similarity.commands.evaluate", "measure retrieval, hubs and orders of an index"),
    "duplicates": ("similarity.commands.duplicates", "list recordings that are there twice"),
    "tune": ("tuning.__main__", "search for good training settings"),
    "export-onnx": ("trainer.export_onnx", "convert a trained encoder to ONNX"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    name, *words = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    if name in ("-h", "--help"):
        print(_help())
    elif name == "--version":
        print(f"dem {__version__}")
    elif name.replace("_", "-") in COMMANDS:
        return _run(name.replace("_", "-"), words)
    else:
        from dem.command import refuse  # what it imports would slow --help down

        problem = unknown_name("command", name, COMMANDS) if name else "a command is missing"
        return refuse(f"{problem} (dem --help lists all)")
    return ExitCode.DONE


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items())
    return "\n".join(
        [
            "usage: dem COMMAND …",
            "",
            "Learn an embedding of audio without labels.",
            "",
            *lines,
            "",
            "dem COMMAND --help shows the options of a command and an example;",
            "dem --version prints the version.",
            "",
            "exit codes: 0 done, 1 failed while running (a retry may help), 2 bad arguments,",
            "settings or data, 3 another host of the same training was lost, 143 stopped by",
            "SIGTERM or Ctrl-C with the state saved",
        ]
    )


def _run(name: str, words: Sequence[str]) -> int:
    module, _ = COMMANDS[name]
    code: int = importlib.import_module(module).main(words, prog=f"dem {name}")
    return code


if __name__ == "__main__":
    sys.exit(main())
