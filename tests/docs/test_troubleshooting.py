"""Messages that docs/troubleshooting.md quotes are messages of the source.

In the column *symptom*, what stands in backticks and contains a space is a message of this project;
``…`` and numbers stand for values. Messages of other programs stand in double quotes.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from tests.processes import ROOT

PACKAGES = ("dem", "beam_features", "trainer", "tuning")
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
VALUE = "\0"


def quoted_messages() -> list[str]:
    """Find the messages in the second column of the numbered tables."""
    symptoms = re.findall(r"^\| \d+ \| (.*?) \|", PAGE, re.MULTILINE)
    return [span for text in symptoms for span in re.findall(r"`([^`]+)`", text) if " " in span]


def template(node: ast.AST) -> str | None:
    """The text of a string or f-string, with `VALUE` for what is put in later."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%[-+.\d]*[a-z]", VALUE, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) or VALUE for part in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
        return constants().get(node.value.id)
    return None


@cache
def constants() -> dict[str, str]:
    """The strings that modules name in capitals, such as environment variables."""
    lines = (re.findall(r'^([A-Z_]+) = "(.*)"$', source, re.MULTILINE) for source in sources())
    return {name: value for found in lines for name, value in found}


@cache
def templates() -> tuple[str, ...]:
    """Every string of the source, with placeholders for values."""
    return tuple(text for path in sources() for text in strings_of(path))


def sources() -> Iterator[str]:
    for package in PACKAGES:
        yield from (path.read_text() for path in sorted((ROOT / package).rglob("*.py")))


def strings_of(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if text := template(node):
            yield text


def occurs(message: str) -> bool:
    """Whether each part of a message, between colons, stands in one string of the source.

    A message may be put together of several strings, which colons separate.
    """
    return all(any(fits(part, text) for text in templates()) for part in message.split(": "))


def fits(part: str, text: str) -> bool:
    """Whether the literal pieces of `part` stand in `text` in their order."""
    pieces = [piece for piece in re.split(r"…|\d+(?:\.\d+)?", part) if piece.strip()]
    return re.search(".*".join(map(re.escape, pieces)), text, re.DOTALL) is not None


def test_the_page_quotes_messages() -> None:
    assert len(quoted_messages()) >= 5


@pytest.mark.parametrize("message", quoted_messages())
def test_a_quoted_message_occurs_in_the_source(message: str) -> None:
    assert occurs(message), f"no module has the message {message!r}"


def test_an_invented_message_does_not_occur() -> None:
    assert not occurs("the moon is … km away")
