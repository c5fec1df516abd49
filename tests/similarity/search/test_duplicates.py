"""Duplicates: by samples and by sound, with lengths that decide."""

import json

import numpy as np
import pytest

from dem.__main__ import main
from similarity.index.library import open_library
from similarity.search.duplicates import duplicate_groups
from tests.similarity.libraries import MadeUp, direction, write_vectors

SONGS = [
    MadeUp("a.flac", direction(0.0), seconds=100, samples_sha256="1"),
    MadeUp("a.wav", direction(0.9), seconds=100, samples_sha256="1"),
    MadeUp("b.mp3", direction(0.5), seconds=100),
    MadeUp("b.ogg", direction(0.505), seconds=101.9),
    MadeUp("b long.ogg", direction(0.5), seconds=105),
    MadeUp("silence.wav", direction(0.5), seconds=100, silent=4),
    MadeUp("z.wav", direction(2.0), seconds=100),
]


@pytest.fixture
def index(tmp_path):
    vectors = write_vectors(tmp_path / "v", SONGS)
    assert main(["index", str(vectors), "--output", str(tmp_path / "i")]) == 0
    return str(tmp_path / "i")


def test_groups(index):
    with open_library(index) as library:
        groups = [[library.recordings[row] for row in rows] for rows in duplicate_groups(library)]
    assert groups == [["a.flac", "a.wav"], ["b.mp3", "b.ogg"]]


def test_blocks_give_what_a_loop_gives(tmp_path):
    random = np.random.default_rng(0)
    songs = [
        MadeUp(f"{n:04}.wav", direction(random.integers(0, 60) / 10), seconds=100 + n % 7)
        for n in range(1200)
    ]
    vectors = write_vectors(tmp_path / "v", songs)
    assert main(["index", str(vectors), "--output", str(tmp_path / "i")]) == 0
    with open_library(str(tmp_path / "i")) as library:
        found = duplicate_groups(library)
        unit, seconds = np.array(library.unit), library.column("seconds")
    near = (unit @ unit.T > 1 - 1e-4) & (
        np.abs(np.subtract.outer(seconds, seconds)) <= 0.02 * np.maximum.outer(seconds, seconds)
    )
    leader = np.arange(1200)
    for _ in range(20):  # until the labels of connected songs agree
        leader = np.where(near, leader[None, :], 1200).min(axis=1)
    expected = [np.flatnonzero(leader == first).tolist() for first in np.unique(leader)]
    assert found == [rows for rows in expected if len(rows) > 1]


def test_the_command(index, capsysbinary):
    assert main(["duplicates", "--index", index, "--format", "json"]) == 0
    result = json.loads(capsysbinary.readouterr().out)
    assert result["groups"] == [["a.flac", "a.wav"], ["b.mp3", "b.ogg"]]
    assert [row["same"] for row in result["songs"]] == ["samples", "samples", "sound", "sound"]
    assert main(["duplicates", "--index", index]) == 0
    assert capsysbinary.readouterr().out.decode().splitlines()[0].split() == [
        *("group", "same", "bytes", "recording")
    ]
