"""The role of a process, from keras-tuner's environment variables."""

import pytest

from dem.errors import InputError
from tuning.workers.role import Role, read_role


def set_variables(monkeypatch: pytest.MonkeyPatch, *values: str | None) -> None:
    for name, value in zip(("TUNER_ID", "ORACLE_IP", "ORACLE_PORT"), values, strict=True):
        if value is None:
            monkeypatch.delenv(f"KERASTUNER_{name}", raising=False)
        else:
            monkeypatch.setenv(f"KERASTUNER_{name}", value)


@pytest.mark.parametrize(
    ("values", "role"),
    [
        ((None, None, None), Role()),
        (("", "", ""), Role()),
        (("chief", "0.0.0.0", "8000"), Role("chief", "0.0.0.0:8000", "chief")),
        (("tuner-3", "tune-chief", "8000"), Role("worker", "tune-chief:8000", "tuner-3")),
        (("tuner-3", "::1", "8000"), Role("worker", "[::1]:8000", "tuner-3")),
    ],
)
def test_roles(monkeypatch: pytest.MonkeyPatch, values: tuple, role: Role) -> None:
    set_variables(monkeypatch, *values)
    assert read_role() == role


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("chief", "0.0.0.0", None), "but not KERASTUNER_ORACLE_PORT; set all three"),
        ((None, None, "8000"), "PORT is set, but not KERASTUNER_ORACLE_IP, KERASTUNER_TUNER_ID"),
        (("chief", "0.0.0.0", "http"), "KERASTUNER_ORACLE_PORT='http' is not a port number"),
    ],
)
def test_refusals(monkeypatch: pytest.MonkeyPatch, values: tuple, message: str) -> None:
    set_variables(monkeypatch, *values)
    with pytest.raises(InputError, match=message):
        read_role()
