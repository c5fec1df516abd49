"""The search space: a domain for each searched key, as data; the default is ``space.yaml``.

Keys are those of `trainer.config.TrainConfig`. A user's entry for a key replaces the default one: a
value fixes the key, a mapping is its new domain.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from typing import Annotated, Any, Literal

import keras_tuner
import yaml
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from dem.errors import InputError
from dem.settings import build_settings
from trainer.config import TrainConfig

_SIGNIFICANT_DIGITS = 4  # of values from ranges
_ONLY_FIXED = {  # trials with different values of these could not be compared
    "train_partitions",
    "validation_partitions",
    "test_partitions",
    "seed",
    "label_use",
    "fingerprint",
    "content_sha256",
}
_KEYS = {field.name: field for field in dataclasses.fields(TrainConfig)}

Conditions = dict[str, tuple[Any, ...]]
"""Values of other keys under which a key has an effect."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Choices:
    """One of several values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)]
    when: Conditions = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a duplicate value, which would be tried twice as often."""
        texts = [_encode(value) for value in self.choices]
        twice = {text for text in texts if texts.count(text) > 1}
        if twice:
            raise InputError(f"choice {min(twice)} is listed twice; list it once")

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values to validate before the search: all."""
        return self.choices


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Range:
    """A number between two bounds, inclusive; an integer if both bounds are integers."""

    low: int | float
    high: int | float
    scale: Literal["linear", "log"] = "linear"
    when: Conditions = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse empty ranges, and log scales that do not start above 0."""
        if not self.low < self.high:
            raise InputError(f"low={self.low} is not below high={self.high}; swap or fix them")
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"low={self.low} has no logarithm; raise it, or use scale: linear")

    @property
    def is_integer(self) -> bool:
        """Whether the range contains only integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values to validate before the search: both ends."""
        return self.low, self.high


Domain = Choices | Range


@dataclasses.dataclass(frozen=True)
class Space:
    """The fixed values and the searched domains; keys come after those their conditions name."""

    fixed: Mapping[str, Any]
    searched: Mapping[str, Domain]

    def conditions(self, key: str) -> Conditions:
        """Return all conditions of a key, including those of the keys it depends on."""
        found: Conditions = {}
        for parent, values in self.searched[key].when.items():
            for name, allowed in (self.conditions(parent) | {parent: values}).items():
                both = [value for value in found.get(name, allowed) if value in allowed]
                found[name] = tuple(both)
        return found

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings of a trial from the values that keras-tuner chose for it."""
        chosen = {
            key: _decode(domain, values[key])
            for key, domain in self.searched.items()
            if key in values
        }
        return {**self.fixed, **chosen}

    def examples(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Yield settings with each extreme of each domain; other keys have their first extreme."""
        for key, domain in self.searched.items():
            for value in domain.extremes:
                chosen = {parent: values[0] for parent, values in self.conditions(key).items()}
                yield key, value, self._complete({**chosen, key: value})

    def _complete(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        settings = {**self.fixed, **chosen}
        for key, domain in self.searched.items():
            if key not in settings and all(
                parent in settings and settings[parent] in values
                for parent, values in domain.when.items()
            ):
                settings[key] = domain.extremes[0]
        return settings


def read_space(given: Mapping[str, Any]) -> Space:
    """Build the space from the default one and a user's entries.

    Raises:
        InputError: a key is unknown or cannot be searched, a domain is invalid, or conditions
            depend on each other.
    """
    default = yaml.safe_load(resources.files("tuning").joinpath("space.yaml").read_text())
    merged = dict(default)
    for key, domain in given.items():
        if isinstance(domain, Mapping):
            usual = default.get(key, {}).get("when", {})
            merged[key] = {"when": usual, **domain}
        else:
            merged[key] = domain
    return _resolve(merged)


def hyperparameters(space: Space) -> keras_tuner.HyperParameters:
    """Declare the searched keys to keras-tuner; choices, which can be lists, as JSON texts."""
    declared = keras_tuner.HyperParameters()
    for key, domain in space.searched.items():
        with ExitStack() as scopes:
            for parent, values in space.conditions(key).items():
                allowed = [_encode(value) for value in values]
                scopes.enter_context(declared.conditional_scope(parent, allowed))
            if isinstance(domain, Choices):
                declared.Choice(key, [_encode(value) for value in domain.choices])
            else:
                declare = declared.Int if domain.is_integer else declared.Float
                declare(key, domain.low, domain.high, sampling=domain.scale)
    return declared


def as_cell(value: Any) -> Any:
    """Format a value for tables and figures: lists and null as in YAML."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return yaml.safe_dump(list(value), default_flow_style=True, width=1000).strip()
    return value


def _resolve(merged: Mapping[str, Any]) -> Space:
    """Split fixed from searched keys, and order the searched ones by their conditions."""
    fixed: dict[str, Any] = {}
    domains: dict[str, Domain] = {}
    for key, given in merged.items():
        _check_key(key, searched=isinstance(given, Mapping))
        if isinstance(given, Mapping):
            domains[key] = _read_domain(key, given)
        else:
            fixed[key] = given
    searched: dict[str, Domain] = {}
    for key in _by_dependency(domains):
        left = _conditions_left(key, domains[key], fixed, searched)
        if left is not None:
            searched[key] = dataclasses.replace(domains[key], when=left)
            if not all(Space(fixed, searched).conditions(key).values()):
                del searched[key]  # its conditions exclude each other
    return Space(fixed, searched)


def _by_dependency(domains: Mapping[str, Domain]) -> list[str]:
    """Order keys so that each comes after those that its conditions name."""
    parents = {
        key: [parent for parent in domain.when if parent in domains]
        for key, domain in domains.items()
    }
    try:
        return [*TopologicalSorter(parents).static_order()]
    except CycleError as error:
        raise InputError(
            f"space: the conditions of {', '.join(sorted({*error.args[1]}))} depend on each other; "
            "remove one `when`"
        ) from error


def _conditions_left(
    key: str, domain: Domain, fixed: Mapping[str, Any], searched: Mapping[str, Domain]
) -> Conditions | None:
    """Return the conditions of a key that vary between trials; None: they never hold."""
    left = {}
    for parent, values in domain.when.items():
        _check_key(parent, searched=False)
        above = searched.get(parent)
        if isinstance(above, Range):
            raise InputError(f"space.{key}: its condition {parent} is a range; use choices there")
        if above is None:
            if fixed.get(parent, _KEYS[parent].default) not in values:
                return None
            continue
        possible = tuple(value for value in above.choices if value in values)
        if not possible:
            return None
        left[parent] = possible
    return left


def _check_key(key: str, *, searched: bool) -> None:
    if key not in _KEYS:
        raise InputError(f"space: unknown key {key!r}; choose from: {', '.join(sorted(_KEYS))}")
    if searched and key in _ONLY_FIXED:
        raise InputError(
            f"space.{key} cannot be searched, because trials with different values cannot be "
            "compared; set one value"
        )


def _read_domain(key: str, given: Mapping[str, Any]) -> Domain:
    kind: type[Domain] = Choices if "choices" in given else Range
    try:
        return build_settings(kind, given)
    except InputError as error:
        raise InputError(f"space.{key}: {error}") from error


def _encode(value: Any) -> str:
    return json.dumps(value)


def _decode(domain: Domain, value: Any) -> Any:
    """Convert a value of keras-tuner's; decimals are rounded to be readable."""
    if isinstance(domain, Choices):
        return json.loads(value)
    if domain.is_integer:
        return int(value)
    rounded = float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    return min(max(rounded, domain.low), domain.high)
