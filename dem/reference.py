"""Settings of a command as ``--help-settings`` prints them, generated from the config classes."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic.fields import FieldInfo

from dem.registry import Registry

_WIDTH = 88
_NAMES = {bool: "true or false", int: "integer", float: "number", str: "text", dict: "mapping"}


@dataclass(frozen=True)
class Setting:
    """A key of a config class."""

    key: str
    default: str
    type: str
    meaning: str


def list_settings(config: type) -> list[Setting]:
    """List the keys of a pydantic dataclass; the docstring below a field is its meaning."""
    fields: dict[str, FieldInfo] = config.__pydantic_fields__  # type: ignore[attr-defined]
    meanings = {  # pydantic reads the docstrings of a class, not of those it is derived from
        key: field.description
        for base in reversed(config.__mro__)
        for key, field in getattr(base, "__pydantic_fields__", {}).items()
        if field.description
    }
    return [
        Setting(
            key,
            _as_yaml(field.get_default(call_default_factory=True)),
            describe_type(field.annotation, field.metadata),
            " ".join(meanings.get(key, "").split()),
        )
        for key, field in fields.items()
    ]


def as_text(settings: Iterable[Setting]) -> str:
    """Format settings for a terminal."""
    return "\n".join(
        f"{setting.key}: {setting.default}\n"
        + _indent(f"({setting.type})")
        + _indent(setting.meaning)
        for setting in settings
    )


def as_markdown(settings: Iterable[Setting]) -> str:
    """Format settings as a Markdown table."""
    rows = (
        f"| `{setting.key}` | `{setting.default}` | {setting.type} | {setting.meaning} |\n"
        for setting in settings
    )
    return "| key | default | type | meaning |\n|---|---|---|---|\n" + "".join(rows)


def describe_type(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    """Describe a type hint in words, with the bounds in its metadata."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe_type(arguments[0], [*arguments[1:], *metadata])
    registry = next((item for item in metadata if isinstance(item, Registry)), None)
    if registry:
        return f"one of: {registry}"
    if origin is Literal:
        return f"one of: {', '.join(map(str, arguments))}"
    if origin in (Union, UnionType):
        kinds = (describe_type(argument) for argument in arguments if argument is not NoneType)
        return "; or ".join([*kinds, *(["null"] if NoneType in arguments else [])])
    if origin is tuple:
        n_items = "list" if Ellipsis in arguments else f"list of {len(arguments)}"
        return f"{n_items}, each {describe_type(arguments[0])}"
    return ", ".join([_NAMES[origin or annotation], *_bounds(metadata)])


def _bounds(metadata: Iterable[Any]) -> list[str]:
    bounds = []
    for item in metadata:
        match item:
            case annotated_types.Gt(gt=limit):
                bounds.append(f"above {limit}")
            case annotated_types.Ge(ge=limit):
                bounds.append(f"at least {limit}")
            case annotated_types.Lt(lt=limit):
                bounds.append(f"below {limit}")
            case annotated_types.Le(le=limit):
                bounds.append(f"at most {limit}")
            case FieldInfo(metadata=inner):
                bounds.extend(_bounds(inner))
    return bounds


def _as_yaml(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    return yaml.safe_dump(plain, default_flow_style=True, width=1000).split("\n")[0]


def _indent(text: str) -> str:
    return textwrap.fill(text, _WIDTH, initial_indent="    ", subsequent_indent="    ") + "\n"
