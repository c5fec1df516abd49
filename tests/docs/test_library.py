"""The commands of docs/library.md, in the order of the page, on songs of their own."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dem.__main__ import main
from tests.processes import ROOT

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SETTINGS = ("encoder=conv1d", "encoder_width=0.1", "epochs=1", "steps_per_epoch=4", "batch_size=8")


def write_song(path: Path, hz: float) -> None:
    """Twelve seconds of a tone with a beat, in noise."""
    time_s = np.arange(12 * RATE_HZ) / RATE_HZ
    beat = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * (1 + hz / 400) * time_s))
    noise = np.random.default_rng(int(hz)).normal(0, 0.02, len(time_s))
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * beat * np.sin(2 * np.pi * hz * time_s) + noise, RATE_HZ)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home with music, a training of it, a playlist, and an index of untrained vectors."""
    monkeypatch.chdir(tmp_path)
    for place, name in enumerate(("jazz/A", "jazz/D", "rock/B", "rock/C", "rock/E", "rock/F")):
        write_song(tmp_path / "Music" / f"{name}.ogg", 150 * (place + 1))
    music = str(tmp_path / "Music")
    songs = sorted(path.as_posix() for path in Path(music).rglob("*.ogg"))
    Path("party.m3u8").write_text("\n".join(["#EXTM3U", *songs, "gone.ogg"]) + "\n")
    words = ["--dataset", "folder", "--input", music, "--output", "FEATURES"]
    assert main(["features", *words]) == 0
    train = ["--data", "FEATURES", "--job-dir", "JOB", "--set", *SETTINGS]
    assert main(["train", *train]) == 0
    random = ["--model", "JOB", "--encoder", "random", "--input", music, "--output", "RANDOM"]
    assert main(["embed", *random]) == 0
    assert main(["index", "RANDOM", "--output", "INDEX2"]) == 0
    return tmp_path


def commands() -> list[list[str]]:
    """The words after ``dem`` of each line that is meant to be typed."""
    text = (ROOT / "docs" / "library.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(".venv/bin/dem ")]


def test_the_commands_of_the_page(home, capfd):
    said = {}
    for words in commands():
        typed = [word.replace("~", str(home)) for word in words]
        capfd.readouterr()
        assert main(typed) == 0, (words, capfd.readouterr().err)
        said[" ".join(words)] = capfd.readouterr().out
    assert len(said) >= 9
    found = said["similar A.ogg --index INDEX -k 5"].splitlines()
    assert len(found) == 6
    party = next(out for words, out in said.items() if words.startswith("sort party.m3u8"))
    entries = [line for line in party.splitlines() if not line.startswith("#")]
    assert sorted(Path(entry).stem for entry in entries) == ["A", "B", "C", "D", "E", "F", "gone"]
    assert Path(entries[0]).stem == "A"
    assert (home / "map.html").stat().st_size > 1_000_000
    assert (home / "evaluation" / "evaluation.json").exists()
