"""The search space: a domain for each key that is searched, as data; ``space.yaml`` by default.

Keys are those of `trainer.config.TrainConfig`. What a user gives for a key replaces its domain: a
value fixes it, a mapping is another domain.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
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
_ONLY_FIXED = {  # keys that decide what trials are compared on, and what nobody may choose by it
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
"""Values of other keys under which a key matters."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Choices:
    """One of several values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)]
    when: Conditions = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse a value that stands twice, which would be tried twice as often."""
        texts = [_encode(value) for value in self.choices]
        twice = {text for text in texts if texts.count(text) > 1}
        if twice:
            raise InputError(f"choice {min(twice)} stands twice; name it once")

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that a check must see: all."""
        return self.choices


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Range:
    """A number between two, both included; an integer where both are."""

    low: int | float
    high: int | float
    scale: Literal["linear", "log"] = "linear"
    when: Conditions = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse ranges without numbers in them, and logarithms of nothing."""
        if not self.low < self.high:
            raise InputError(f"low={self.low} is not below high={self.high}; swap or fix them")
        if self.scale == "log" and self.low <= 0:
            raise InputError(f"low={self.low} has no logarithm; raise it, or take scale: linear")

    @property
    def is_integer(self) -> bool:
        """Whether only integers are in it."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def extremes(self) -> tuple[Any, ...]:
        """Values that a check must see: both ends."""
        return self.low, self.high


Domain = Choices | Range


@dataclasses.dataclass(frozen=True)
class Space:
    """What is fixed and what is searched; a key stands after those that its conditions name."""

    fixed: Mapping[str, Any]
    searched: Mapping[str, Domain]

    def conditions(self, key: str) -> Conditions:
        """All conditions of a key, also those of the keys in them."""
        found: Conditions = {}
        for parent, values in self.searched[key].when.items():
            for name, allowed in (self.conditions(parent) | {parent: values}).items():
                both = [value for value in found.get(name, allowed) if value in allowed]
                found[name] = tuple(both)
        return found

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of a trial, from the values that keras-tuner has chosen for it."""
        chosen = {
            key: _decode(domain, values[key])
            for key, domain in self.searched.items()
            if key in values
        }
        return {**self.fixed, **chosen}

    def examples(self) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        """Settings with each extreme of each domain, the rest being first choices and low ends."""
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
    """Build the space from the default one and what a user gives for some keys.

    Raises:
        InputError: a key is unknown or cannot be searched, a domain is none, or conditions name
            each other in a circle.
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
    """Declare what is searched to keras-tuner. Choices are JSON texts there: they can be lists."""
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
    """A value of a trial as tables and pictures show it: lists and null as in YAML."""
    if value is None:
        return "null"
    if isinstance(value, list | tuple):
        return yaml.safe_dump(list(value), default_flow_style=True, width=1000).strip()
    return value


def _resolve(merged: Mapping[str, Any]) -> Space:
    """Tell what is fixed from what is searched, and order what is searched."""
    fixed: dict[str, Any] = {}
    domains: dict[str, Domain] = {}
    for key, given in merged.items():
        _check_key(key, searched=isinstance(given, Mapping))
        if isinstance(given, Mapping):
            domains[key] = _read_domain(key, given)
        else:
            fixed[key] = given
    searched: dict[str, Domain] = {}
    open_keys = set(domains)
    while open_keys:
        ready = [
            key for key in domains if key in open_keys and not open_keys & {*domains[key].when}
        ]
        if not ready:
            raise InputError(
                f"space: the conditions of {', '.join(sorted(open_keys))} name each other; remove "
                "one `when`"
            )
        for key in ready:
            left = _conditions_left(key, domains[key], fixed, searched)
            if left is not None:
                searched[key] = dataclasses.replace(domains[key], when=left)
                if not all(Space(fixed, searched).conditions(key).values()):
                    del searched[key]  # its conditions exclude each other
        open_keys -= set(ready)
    return Space(fixed, searched)


def _conditions_left(
    key: str, domain: Domain, fixed: Mapping[str, Any], searched: Mapping[str, Domain]
) -> Conditions | None:
    """Conditions of a key that trials decide; None: it never matters."""
    left = {}
    for parent, values in domain.when.items():
        _check_key(parent, searched=False)
        above = searched.get(parent)
        if isinstance(above, Range):
            raise InputError(f"space.{key}: {parent} has no choices, so no key can depend on it")
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
            f"space.{key} cannot be searched, since trials would no longer be compared on the same "
            "terms; give it one value"
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
    """The value that keras-tuner means; decimals are rounded to what a person can read."""
    if isinstance(domain, Choices):
        return json.loads(value)
    if domain.is_integer:
        return int(value)
    rounded = float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
    return min(max(rounded, domain.low), domain.high)
