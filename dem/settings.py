"""Settings from a YAML file and ``key=value`` words into a validated frozen dataclass."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from dem.errors import InputError, unknown_name

T = TypeVar("T")
_LONG = 5  # of a list: more values are not printed
_LONGEST_TEXT = 300


def load_settings(
    cls: type[T],
    config: str | None,
    overrides: Sequence[str],
    read_text: Callable[[str], str],
) -> T:
    """Build `cls` from the YAML file `config` and the ``key=value`` words, which override it.

    Args:
        cls: a pydantic dataclass that forbids extra keys.
        config: path or URI of a YAML mapping, or None.
        overrides: words such as ``margin=0.3`` or ``train_partitions=[fold1,fold2]``;
            ``space.margin=0.3`` sets one key in the mapping ``space``.
        read_text: reads the file.

    Raises:
        InputError: the file is missing or no mapping, a key is unknown, or a value is invalid.
    """
    values = _read_mapping(config, read_text) if config else {}
    for key, value in _parse_overrides(overrides).items():
        outer, dot, inner = key.partition(".")
        if dot and isinstance(values.get(outer, {}), dict):
            values[outer] = values.get(outer, {}) | {inner: value}
        else:
            values[key] = value
    return build_settings(cls, values)


def build_settings(cls: type[T], values: Mapping[str, Any]) -> T:
    """Validate `values` into `cls`.

    Raises:
        InputError: of one line that names every invalid value.
    """
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        known = sorted(field.name for field in dataclasses.fields(cls))  # type: ignore[arg-type]
        faults = [_describe(fault, known) for fault in error.errors()]
        raise InputError("; ".join(faults)) from error


def as_yaml_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as YAML and JSON return them: tuples become lists."""
    return dict(json.loads(json.dumps(values)))


def describe_differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> str:
    """Name the keys in which two nested mappings differ, with both values; empty if equal.

    Of long lists it names what is in one only.
    """
    before, now = _flatten(stored), _flatten(requested)
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    return "; ".join(f"{key}: {_contrast(before.get(key), now.get(key))}" for key in keys)


def _contrast(stored: Any, requested: Any) -> str:
    both = (stored, requested)
    if all(isinstance(value, list | tuple) for value in both) and max(map(len, both)) > _LONG:
        removed, added = (
            [value for value in one if value not in other] for one, other in (both, both[::-1])
        )
        if not removed and not added:
            return f"the same {len(stored)} values in another order"
        return f"only stored {_shorten(removed)}, only requested {_shorten(added)}"
    return f"stored {_shorten(stored)}, requested {_shorten(requested)}"


def _shorten(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > _LONG:
        return f"[{', '.join(map(repr, value[:_LONG]))}, … {len(value)} in all]"
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flatten(value) if isinstance(value, Mapping) else {key: value}
    return flat


def _read_mapping(config: str, read_text: Callable[[str], str]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(read_text(config))
    except FileNotFoundError as error:
        raise InputError(f"config {config!r} does not exist; check --config") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"config {config!r} is not valid YAML: {reason}") from error
    if not isinstance(values, dict):
        raise InputError(f"config {config!r} must contain 'key: value' lines, not {values!r}")
    return values


def _parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    values = {}
    for word in overrides:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise InputError(f"--set takes key=value, not {word!r}")
        try:
            values[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--set {key}: {value!r} is not a YAML value") from error
    return values


def _describe(fault: Any, known: Sequence[str]) -> str:
    name = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return unknown_name("key", name, known)
    if fault["type"] == "value_error":  # of our own checks, whose messages are complete
        return str(fault["ctx"]["error"])
    return f"{name}: {fault['msg']}, not {fault['input']!r}"
