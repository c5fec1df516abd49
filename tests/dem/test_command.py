"""Exit codes and the one line on stderr."""

import pytest
from pydantic.dataclasses import dataclass

from dem.command import Parser, add_settings_arguments, name_in, run_command
from dem.errors import InputError, JobError, LostPeerError, Terminated
from dem.registry import Registry

OUTCOMES = [
    (InputError("no 'x'; choose y"), 2, "error: no 'x'; choose y\n"),
    (JobError("3 of 4 failed"), 1, "error: 3 of 4 failed\n"),
    (LostPeerError("host 2 is gone"), 3, "error: host 2 is gone\n"),
    (Terminated("saved at step 7"), 143, "stopped: saved at step 7\n"),
    (KeyError("k"), 1, "error: KeyError: 'k' (--debug shows where)\n"),
    (RuntimeError("first\nsecond"), 1, "error: RuntimeError: first (--debug shows where)\n"),
    (OSError(), 1, "error: OSError: no message (--debug shows where)\n"),
]


def raising(error):
    def run():
        raise error

    return run


def test_success_is_0_and_silent(capsys):
    assert run_command(lambda: None, debug=False) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("error", "code", "line"), OUTCOMES)
def test_errors_are_one_line_without_traceback(capsys, error, code, line):
    assert run_command(raising(error), debug=False) == code
    assert capsys.readouterr() == ("", line)


@pytest.mark.parametrize(("error", "code", "line"), OUTCOMES)
def test_debug_shows_the_traceback_before_the_line(capsys, error, code, line):
    assert run_command(raising(error), debug=True) == code
    stderr = capsys.readouterr().err
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert "in raising" in stderr or "in run" in stderr
    assert stderr.endswith("\n" + line)


@dataclass
class Toy:
    depth: int = 2


@pytest.fixture
def parser():
    parser = Parser("dem toy", "Do nothing.", "--max-rate 0.5", "That is all.")
    parser.add_argument("--max-rate", type=float, required=True)
    parser.add_argument("--shape", type=name_in(Registry("shape", {"round": "x:y"})))
    add_settings_arguments(parser, Toy)
    return parser


def test_settings_arguments(parser):
    words = ["--set", "a=1", "b=[x,y]", "--config", "c.yaml", "--set", "d=2", "--debug"]
    parsed = vars(parser.parse_args(["--max-rate=1", *words]))
    assert parsed["config"] == "c.yaml"
    assert parsed["set"] == ["a=1", "b=[x,y]", "d=2"]
    assert parsed["debug"] is True
    parsed = vars(parser.parse_args(["--max-rate=1"]))
    assert (parsed["config"], parsed["set"], parsed["debug"]) == (None, [], False)


@pytest.mark.parametrize(
    "words", [["--max-rate", "0.5"], ["--max_rate", "0.5"], ["--max_rate=0.5"], ["--max-rate=0.5"]]
)
def test_hyphens_and_underscores_are_the_same_in_our_options(parser, words):
    words = [*words, "--direct_num_workers=2", "--set", "a_b=1", "--help_me"]
    parsed, unknown = parser.parse_known_args(words)
    assert parsed.max_rate == 0.5
    assert parsed.set == ["a_b=1"]
    assert unknown == ["--direct_num_workers=2", "--help_me"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --max-rate"),
        (["--max-rte", "1"], "unknown option '--max-rte'; did you mean '--max-rate'?"),
        (["--max-rate", "1", "--zzz=3"], "unknown option '--zzz'"),
        (["--max-rate", "1", "here"], "unrecognized arguments: here"),
        (["--max-rate", "x"], "argument --max-rate: invalid float value: 'x'"),
        (
            ["--max-rate", "1", "--shape", "rond"],
            "argument --shape: unknown shape 'rond'; choose one of: round; did you mean 'round'?",
        ),
    ],
)
def test_bad_words_are_one_line_with_a_pointer_to_help(parser, capsys, words, message):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 2
    assert capsys.readouterr() == ("", f"error: {message} (dem toy --help lists all options)\n")


def test_help_ends_with_an_example(parser):
    shown = parser.format_help()
    assert shown.startswith("usage: dem toy [-h] [--debug] --max-rate")
    assert shown.endswith("\nexample:\n  dem toy --max-rate 0.5\n\nThat is all.\n")


@pytest.mark.parametrize(
    ("words", "start"),
    [
        (["--help-settings"], "depth: 2\n    (integer)\n"),
        (["--help_settings", "text"], "depth: 2\n"),
        (["--help-settings", "markdown"], "| key | default | type | meaning |\n"),
    ],
)
def test_help_settings_needs_no_other_option(parser, capsys, words, start):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(words)
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(start)
