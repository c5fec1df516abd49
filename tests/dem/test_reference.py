"""What ``--help-settings`` prints of a config class."""

from dataclasses import field
from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dem.reference import Setting, as_markdown, as_text, describe_type, list_settings
from dem.registry import Registry

Positive = Annotated[int, Field(gt=0)]
CODECS = Registry("codec", {"json": "json:dumps", "yaml": "yaml:dump"})


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Toy:
    rate: Annotated[float, Field(gt=0, le=4)] = 1e-3
    """Of learning."""
    codecs: tuple[Annotated[str, CODECS], ...] = ("json", "yaml")
    """In this
    order."""
    steps: Positive | None = None
    space: dict[str, Any] = field(default_factory=dict)
    fast: bool = False


def test_settings_come_from_the_class() -> None:
    assert list_settings(Toy) == [
        Setting("rate", "0.001", "number, above 0, at most 4", "Of learning."),
        Setting("codecs", "[json, yaml]", "list, each one of: json, yaml", "In this order."),
        Setting("steps", "null", "integer, above 0; or null", ""),
        Setting("space", "{}", "mapping", ""),
        Setting("fast", "false", "true or false", ""),
    ]


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Annotated[int, Field(ge=0, lt=8)], "integer, at least 0, below 8"),
        (Literal["mean", "first"], "one of: mean, first"),
        (tuple[Positive, Positive] | None, "list of 2, each integer, above 0; or null"),
        (tuple[str, ...], "list, each text"),
    ],
)
def test_types_in_words(annotation: Any, words: str) -> None:
    assert describe_type(annotation) == words


def test_both_forms() -> None:
    settings = [Setting("a", "1", "integer", "How many."), Setting("b", "{}", "mapping", "Which.")]
    assert as_text(settings) == (
        "a: 1\n    (integer)\n    How many.\n\nb: {}\n    (mapping)\n    Which.\n"
    )
    assert as_markdown(settings) == (
        "| key | default | type | meaning |\n|---|---|---|---|\n"
        "| `a` | `1` | integer | How many. |\n| `b` | `{}` | mapping | Which. |\n"
    )
