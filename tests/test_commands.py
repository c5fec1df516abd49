"""The command ``dem``, and the ``python -m`` form of each stage: help and errors."""

import importlib
import re
import runpy
import subprocess
import sys
import tomllib

import pytest

from dem import __main__ as dem
from dem.__main__ import COMMANDS as STAGES
from tests.processes import ROOT

FORMS = {
    "download": "beam_features.download",
    "features": "beam_features",
    "train": "trainer.train",
    "classify": "trainer.classify",
    "crossval": "trainer.crossval",
    "embed": "trainer.embed",
    "report": "trainer.report",
    "index": "similarity.commands.index",
    "compare": "similarity.commands.compare",
    "similar": "similarity.commands.similar",
    "sort": "similarity.commands.sort",
    "path": "similarity.commands.path",
    "map": "similarity.commands.map",
    "evaluate": "similarity.commands.evaluate",
    "duplicates": "similarity.commands.duplicates",
    "tune": "tuning",
    "export-onnx": "trainer.export_onnx",
}
COMMANDS = ("dem", *FORMS.values())  # after ``python -m``
HEAVY = {"apache_beam", "tensorflow", "keras", "librosa", "scipy", "soundfile", "sklearn", "pandas"}
HEAVY |= {"bokeh", "usearch"}


def ended(main, *words: str) -> int:
    """Exit code of a command that argparse ends."""
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return int(stop.value.code or 0)


def main_of(name: str):
    return importlib.import_module(STAGES[name][0]).main


def test_help_lists_every_command_with_one_line(capsys) -> None:
    assert set(STAGES) == set(FORMS)
    assert dem.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^  ([a-z-]+)  +(.+)$", shown, re.MULTILINE) == [
        (name, summary) for name, (_, summary) in STAGES.items()
    ]


def test_the_version_is_that_of_the_package(capsys) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "dem.__version__"}
    assert project["project"]["scripts"] == {"dem": "dem.__main__:main"}
    assert dem.main(["--version"]) == 0
    assert capsys.readouterr().out == "dem 0.4.0\n"


def test_help_of_every_stage_loads_nothing_heavy() -> None:
    program = f"""
import contextlib, io, sys
from dem.__main__ import COMMANDS, main
for name in COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([name, "--help"])
print(*({HEAVY} & {{module.split(".")[0] for module in sys.modules}}))
"""
    finished = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout == "\n"


@pytest.mark.parametrize("name", STAGES)
def test_help_shows_an_example_of_the_form_that_was_asked(name: str, capsys) -> None:
    assert ended(dem.main, name, "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: dem {name} ")
    assert f"\nexample:\n  dem {name} " in shown
    assert ended(main_of(name), "--help") == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: python -m {FORMS[name]} ")
    assert f"\nexample:\n  python -m {FORMS[name]} " in shown


@pytest.mark.parametrize("name", STAGES)
def test_a_missing_argument_is_one_line_and_exit_2(name: str, capsys) -> None:
    assert ended(main_of(name)) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith("error: the following arguments are required: ")
    assert stderr.endswith(f" (python -m {FORMS[name]} --help lists all options)\n")
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("name", STAGES)
def test_a_misspelled_option_is_explained(name: str, capsys) -> None:
    assert ended(dem.main, name, "--debgu") == 2
    assert capsys.readouterr().err == (
        "error: unknown option '--debgu'; did you mean '--debug'? "
        f"(dem {name} --help lists all options)\n"
    )


def test_an_unknown_command_is_explained(capsys) -> None:
    assert dem.main(["trian", "--data", "x"]) == 2
    assert capsys.readouterr() == (
        "",
        "error: unknown command 'trian'; choose one of: download, features, train, classify, "
        "crossval, embed, report, index, compare, similar, sort, path, map, evaluate, duplicates, "
        "tune, export-onnx; did you mean 'train'? "
        "(dem --help lists all)\n",
    )
    assert dem.main([]) == 2
    assert capsys.readouterr().err == "error: a command is missing (dem --help lists all)\n"


def test_commands_and_options_take_underscores_too(capsys) -> None:
    assert ended(dem.main, "export_onnx", "--job_dir", "x", "--outptu", "y") == 2
    assert "unknown option '--outptu'; did you mean '--output'?" in capsys.readouterr().err


def test_a_stage_gets_its_words_and_gives_its_exit_code(capsys) -> None:
    words = ["--model", "x", "--input", "a", "--partitions", "p", "--output", "o"]
    assert dem.main(["embed", *words]) == 2
    assert capsys.readouterr().err.startswith("error: --partitions are those of --data")


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", COMMANDS)
def test_every_form_runs_as_a_module(module: str, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as stop:
        runpy.run_module(module, run_name="__main__")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: ")
