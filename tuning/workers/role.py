"""The role of this process in a search, from keras-tuner's environment variables."""

import os
import re
from dataclasses import dataclass, field
from typing import Literal

from dem.errors import InputError

TOKEN = "DEM_SEARCH_TOKEN"  # noqa: S105 - its name
"""Environment variable: what chief and workers must have in common, and nobody else."""

_IP, _PORT, _ID = "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT", "KERASTUNER_TUNER_ID"


@dataclass(frozen=True)
class Role:
    """`local`: alone; `chief`: assigns trials at the address; `worker`: runs them."""

    kind: Literal["local", "chief", "worker"] = "local"
    address: str = ""
    tuner_id: str = ""
    token: str = field(default="", repr=False)


def read_role() -> Role:
    """Read the environment; as in keras-tuner, an id that contains ``chief`` means the chief.

    Raises:
        InputError: only some of the variables are set, the port is not a number, or there is no
            token.
    """
    values = {name: os.environ.get(name, "") for name in (_IP, _PORT, _ID)}
    missing = [name for name, value in values.items() if not value]
    if missing == list(values):
        return Role()
    if missing:
        present = ", ".join(name for name, value in values.items() if value)
        raise InputError(
            f"{present} is set, but not {', '.join(missing)}; set all three to search with a chief "
            "and workers, or none to search alone"
        )
    if not values[_PORT].isdecimal():
        raise InputError(f"{_PORT}={values[_PORT]!r} is not a port number")
    host = f"[{values[_IP]}]" if ":" in values[_IP] else values[_IP]
    kind: Literal["chief", "worker"] = "chief" if "chief" in values[_ID] else "worker"
    return Role(kind, f"{host}:{values[_PORT]}", values[_ID], _read_token())


def _read_token() -> str:
    token = os.environ.get(TOKEN, "").strip()
    if not re.fullmatch(r"[!-~]{16,}", token):  # the value is secret, so it is not shown
        problem = "must be at least 16 letters, digits or signs" if token else "is not set"
        raise InputError(
            f"{TOKEN} {problem}; set it to the same value for the chief and all workers, such as "
            "the output of: openssl rand -hex 32"
        )
    return token
