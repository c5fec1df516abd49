"""Registries: names are known without an import, and looked up with one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from pydantic.dataclasses import dataclass

from dem.errors import InputError
from dem.registry import Registry
from dem.settings import build_settings
from tests.processes import ROOT

CODECS = Registry("codec", {"json": "json:dumps", "gone": "no.such:thing"}, extensible=True)
CLOSED = Registry("codec", {"json": "json:dumps"})


@dataclass(frozen=True)
class Toy:
    codecs: tuple[Annotated[str, CODECS], ...] = ()


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of the user in the working directory, which is not on Python's path."""
    (tmp_path / "own_nets.py").write_text("SIZE = 3\n\ndef tiny(): return 'used'\n")
    (tmp_path / "broken_nets.py").write_text("import no_such_package\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    yield "own_nets"
    sys.modules.pop("own_nets", None)


def test_names_are_known_without_their_modules() -> None:
    assert list(CODECS) == ["json", "gone"]
    assert len(CODECS) == 2
    assert "json" in CODECS
    assert "yaml" not in CODECS
    assert str(CODECS) == "json, gone, module:function"
    assert str(CLOSED) == "json"


def test_a_name_gives_what_it_stands_for(own_module: str) -> None:
    assert CODECS["json"] is json.dumps
    assert CODECS["json:loads"] is json.loads
    assert CODECS[f"{own_module}:tiny"]() == "used"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "jsn",
            "unknown codec 'jsn'; choose one of: json, gone, module:function; did you mean 'json'?",
        ),
        ("json:", "unknown codec 'json:'; choose one of: json, gone, module:function"),
        (
            "own_nest:tiny",
            "codec 'own_nest:tiny': cannot import module 'own_nest' (No module named 'own_nest'); "
            "install it, or run the command in the directory that contains it",
        ),
        (
            "broken_nets:tiny",
            "codec 'broken_nets:tiny': cannot import module 'broken_nets' (No module named "
            "'no_such_package'); install it, or run the command in the directory that contains it",
        ),
        (
            "own_nets:tinny",
            "codec 'own_nets:tinny': module 'own_nets' has no function 'tinny'; did you mean "
            "'tiny'?",
        ),
        ("own_nets:SIZE", "codec 'own_nets:SIZE': module 'own_nets' has no function 'SIZE'"),
    ],
)
def test_refusals_name_what_is_missing(own_module: str, name: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        CODECS[name]
    assert str(refusal.value).startswith(message)


def test_a_closed_registry_takes_its_names_only() -> None:
    with pytest.raises(InputError, match=r"unknown codec 'json:loads'; choose one of: json$"):
        CLOSED.check("json:loads")


def test_settings_accept_names_without_importing_them() -> None:
    names = ("json", "gone", "not.there:yet")
    assert build_settings(Toy, {"codecs": names}) == Toy(names)
    with pytest.raises(InputError, match="unknown codec 'jsno'; choose one of: json, gone"):
        build_settings(Toy, {"codecs": ["jsno"]})


def test_a_safe_path_leaves_the_working_directory_out(own_module: str, tmp_path: Path) -> None:
    program = (
        "from dem.registry import Registry; Registry('net', {}, extensible=True)['own_nets:tiny']"
    )
    words = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r}); {program}"]
    assert subprocess.run(words, cwd=tmp_path, check=False).returncode == 0
    safe = subprocess.run(
        [*words[:1], "-P", *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "cannot import module 'own_nets'" in safe.stderr
