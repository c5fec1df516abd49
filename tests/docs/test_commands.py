"""Every ``dem`` command in a code block of the docs exists, with options that it has."""

import re
from collections.abc import Iterator

import pytest

from dem.__main__ import COMMANDS, main
from tests.docs.test_pages import PAGES


def documented_commands() -> Iterator[str]:
    """The words after ``dem``, to the end of the line or of the lines that a backslash joins."""
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            text = block.replace("\\\n", " ")
            yield from re.findall(r"^(?:.* )?(?:\.venv/bin/)?dem ([a-z].*)$", text, re.MULTILINE)


def is_beams(option: str) -> bool:
    return "_" in option or option == "--runner"


@pytest.mark.parametrize("command", sorted(set(documented_commands())))
def test_command_and_options_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.strip("[]") for word in command.split()]
    name = words[0]
    assert name in COMMANDS
    predict = ["predict"] if words[1:2] == ["predict"] else []
    with pytest.raises(SystemExit):
        main([name, *predict, "--help"])
    known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    if name == "features":
        options = {option for option in options if not is_beams(option)}
    assert options <= known
