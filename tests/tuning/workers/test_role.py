"""The role of a process, from keras-tuner's environment variables."""

import pytest

from dem.errors import InputError
from tuning.workers.role import Role, read_role

TOKEN = "known-to-chief-and-workers"


def set_variables(monkeypatch: pytest.MonkeyPatch, *values: str | None) -> None:
    monkeypatch.setenv("DEM_SEARCH_TOKEN", TOKEN)
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
        (("chief", "0.0.0.0", "8000"), Role("chief", "0.0.0.0:8000", "chief", TOKEN)),
        (("tuner-3", "tune-chief", "8000"), Role("worker", "tune-chief:8000", "tuner-3", TOKEN)),
        (("tuner-3", "::1", "8000"), Role("worker", "[::1]:8000", "tuner-3", TOKEN)),
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


@pytest.mark.parametrize("tuner_id", ["chief", "worker-0"])
@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "DEM_SEARCH_TOKEN is not set; set it to the same value for the chief and all"),
        (" ", "DEM_SEARCH_TOKEN is not set"),
        ("short", "DEM_SEARCH_TOKEN must be at least 16 letters, digits or signs"),
        ("with a space within it", "must be at least 16 letters"),
    ],
)
def test_a_search_on_several_machines_needs_a_token(
    monkeypatch: pytest.MonkeyPatch, tuner_id: str, token: str | None, message: str
) -> None:
    set_variables(monkeypatch, tuner_id, "0.0.0.0", "8000")
    if token is None:
        monkeypatch.delenv("DEM_SEARCH_TOKEN")
    else:
        monkeypatch.setenv("DEM_SEARCH_TOKEN", token)
    with pytest.raises(InputError, match=message) as refused:
        read_role()
    assert not token or token == " " or token not in str(refused.value)


def test_the_token_is_not_shown_and_may_end_in_a_line_break(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a Secret that was made from a file."""
    set_variables(monkeypatch, "chief", "0.0.0.0", "8000")
    monkeypatch.setenv("DEM_SEARCH_TOKEN", f"{TOKEN}\n")
    role = read_role()
    assert role.token == TOKEN
    assert TOKEN not in repr(role)
