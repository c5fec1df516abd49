"""Choices by name, such as encoders or datasets: one place to add a name."""

import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from dem.errors import InputError, did_you_mean, unknown_name

_PLACE = re.compile(r"[\w.]+:\w+")


class Registry:
    """Names of one kind, and the place of each as ``module:attribute``.

    A place is imported when its name is looked up. So settings, ``--help`` and error messages know
    the names without TensorFlow or Beam. ``Annotated[str, ENCODERS]`` in a config class accepts
    only the names of that registry.

    Args:
        kind: what the names are called in messages.
        places: ``module:attribute`` by name.
        extensible: whether a user may give a ``module:function`` of their own instead of a name.
    """

    def __init__(self, kind: str, places: Mapping[str, str], *, extensible: bool = False) -> None:
        self.kind = kind
        self._places = places
        self._extensible = extensible

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __str__(self) -> str:
        """All choices, for help and error messages."""
        return ", ".join(self._choices())

    def __getitem__(self, name: str) -> Any:
        """Import what a name, or a ``module:function``, stands for.

        Raises:
            InputError: the name is unknown, or there is no such module or function.
        """
        place = self._places.get(self.check(name), name)
        module_name, _, attribute = place.partition(":")
        module = _import(module_name, f"{self.kind} {name!r}")
        if not callable(getattr(module, attribute, None)):
            hint = did_you_mean(attribute, vars(module))
            raise InputError(
                f"{self.kind} {name!r}: module {module_name!r} has no function {attribute!r}{hint}"
            )
        return getattr(module, attribute)

    def check(self, name: str) -> str:
        """Return `name`, without importing what it stands for.

        Raises:
            InputError: the name is unknown.
        """
        if name in self._places or (self._extensible and _PLACE.fullmatch(name)):
            return name
        raise InputError(unknown_name(self.kind, name, self._choices()))

    def _choices(self) -> list[str]:
        return [*self._places, *(["module:function"] if self._extensible else [])]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


def _import(module: str, what: str) -> Any:
    """Import a module, also from the working directory unless Python runs with a safe path.

    ``python -m`` searches that directory anyway, the command ``dem`` does not.
    """
    if not sys.flags.safe_path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{what}: cannot import module {module!r} ({error}); install it, or run the command "
            "in the directory that contains it"
        ) from error
