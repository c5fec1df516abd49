"""An index of songs on a circle, and the commands called in this process."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dem.__main__ import main
from tests.similarity.libraries import MadeUp, direction, write_vectors

ANGLES = {  # radians
    "jazz/a.ogg": 0.0,
    "jazz/b.ogg": 0.1,
    "jazz/copy of a.ogg": 0.0,
    "rock/c.ogg": 0.5,
    "rock/d.ogg": 0.7,
    "rock/e.ogg": 1.5,
}
ARTISTS = {"a": "Ada", "b": "Ada", "copy of a": "Ada", "c": "Bob", "d": "Cy"}


def made_up(name: str, angle: float) -> MadeUp:
    artist = ARTISTS.get(name.rpartition("/")[2].removesuffix(".ogg"))
    columns = {"label": name.partition("/")[0], "year": f"{1960 + 10 * len(name)}"}
    return MadeUp(name, direction(angle), columns=columns | ({"artist": artist} if artist else {}))


@pytest.fixture(scope="session")
def index(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("library")
    songs = [made_up(name, angle) for name, angle in ANGLES.items()]
    vectors = write_vectors(folder / "vectors", songs)
    assert main(["index", str(vectors), "--output", str(folder / "INDEX")]) == 0
    return folder / "INDEX"


@pytest.fixture
def dem(index, capfdbinary) -> Callable[..., bytes]:
    """Run a command on the index; give its output."""

    def run(command: str, *words: str, code: int = 0) -> bytes:
        capfdbinary.readouterr()
        try:
            found = main([command, *words, "--index", str(index)])
        except SystemExit as stop:
            found = stop.code
        out, err = capfdbinary.readouterr()
        assert found == code, err
        return out if code == 0 else err

    return run


@pytest.fixture
def dem_json(dem) -> Callable[..., Any]:
    return lambda *words: json.loads(dem(*words, "--format", "json"))
