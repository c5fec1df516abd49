"""Every command of docs/datasets.md, on small trees of the layouts that it describes."""

import json
import re
import shlex

import numpy as np
import pytest
import soundfile

from beam_features.__main__ import main
from beam_features.datasets import DATASETS
from beam_features.datasets.sample import STYLES
from beam_features.datasets.table import list_recordings
from beam_features.schema.audio.files import AUDIO_SUFFIXES
from tests.beam_features.datasets.conftest import write_node
from tests.dcase import write_lines
from tests.processes import ROOT

DOCS = (ROOT / "docs" / "datasets.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
COMMANDS = [
    line.removeprefix(".venv/bin/dem features ")
    for block in BLOCKS
    for line in block.splitlines()
    if line.startswith(".venv/bin/dem features ")
]
(TABLE,) = (block for block in BLOCKS if block.startswith("uri,"))


@pytest.fixture(scope="module")
def trees(tmp_path_factory, make_songs, write_development_set, write_evaluation_set):
    """A directory that holds all inputs under the names that the page gives them."""
    home = tmp_path_factory.mktemp("docs")
    make_songs(home / "Music")
    (home / "Music" / "dog" / "song.m4a").write_bytes(b"\0\0\0\x1cftypM4A \0\0\0\0M4A mp42isom")
    (home / "Music" / ".Trash").mkdir()
    (home / "Music" / ".Trash" / "old.wav").write_bytes(b"RIFF")
    write_lines(home / "songs.csv", *(TABLE.splitlines()[:4]))
    for seed, name in enumerate(("kitchen/0001", "kitchen/0002", "hall/0001")):
        write_node(home / f"{name}.wav", 10.0, seed)
    rows = [f"{fold}.wav,{fold},rain,{fold}" for fold in (1, 2)]
    write_lines(home / "ESC-50/meta/esc50.csv", "filename,fold,category,src_file", *rows)
    for fold in (1, 2):
        write_node(home / f"ESC-50/audio/{fold}.wav", 2.0, fold)
    write_development_set(home / "DCASE2018-task5-dev", seconds=1.0)
    write_evaluation_set(home / "DCASE2018-task5-eval", seconds=1.0)
    header = [",set,set,track,artist", ",subset,split,genre_top,id", "track_id,,,,"]
    tracks = ["2,small,training,Rock,1", "5,small,test,Folk,2", "7,large,test,Folk,2"]
    write_lines(home / "fma/fma_metadata/tracks.csv", *header, *tracks)
    (home / "fma/fma_small/000").mkdir(parents=True)
    for track in (2, 5):
        samples = np.random.default_rng(track).normal(0, 0.05, 3 * 44_100)
        soundfile.write(home / f"fma/fma_small/000/00000{track}.mp3", samples, 44_100)
    return home


EXPECTED = {  # recordings per partition, and what is rejected, by reason
    "features/music": (
        {"train": 7, "validation": 0, "test": 1},
        {"hidden": 1, "unsupported_codec": 1},
    ),
    "features/songs": ({"train": 3}, {}),
    "features/esc50": ({"fold1": 1, "fold2": 1}, {}),
    "features/dcase": ({"fold1": 4, "fold2": 1, "fold3": 3, "fold4": 1}, {"missing": 1}),
    "features/dcase-eval": ({"eval-known": 1, "eval-unknown": 3}, {}),
    "features/fma": ({"train": 1, "test": 1}, {}),
    "features/sample": ({"train": 2, "validation": 2, "test": 2}, {}),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command(trees, no_ffmpeg, monkeypatch, command):
    monkeypatch.chdir(trees)
    two_styles = dict(list(STYLES.items())[:2])
    monkeypatch.setattr("beam_features.datasets.sample.STYLES", two_styles)
    monkeypatch.setattr(
        "beam_features.datasets.sample.SONGS_PER_CLASS", {"train": 1, "validation": 1, "test": 1}
    )
    words = shlex.split(command)
    output = words[words.index("--output") + 1]
    recordings, rejected = EXPECTED[output]
    assert main([*words, "--max-failure-rate", "0.2"]) == 0
    info = json.loads((trees / output / "dataset_info.json").read_text())
    assert {name: p["recordings"] for name, p in info["partitions"].items()} == recordings
    assert info["rejected"] == rejected


def test_all_datasets_and_outputs_are_on_the_page():
    assert [shlex.split(command)[1] for command in COMMANDS] == [
        name for name in DATASETS for _ in range(2 if name == "dcase2018-task5" else 1)
    ]
    assert re.findall(r"^## `(.*)`$", DOCS, re.MULTILINE) == list(DATASETS)
    assert len(EXPECTED) == len(COMMANDS)


def test_table_on_the_page(tmp_path):
    (tmp_path / "songs.csv").write_text(TABLE)
    recordings = list_recordings(str(tmp_path / "songs.csv")).recordings
    assert [(r.label, r.context_id, r.session_id, r.offset_s) for r in recordings] == [
        ("cooking", "monday-kitchen", "monday", 0.0),
        ("cooking", "monday-kitchen", "monday", 10.0),
        (None, "monday-hall", "monday", 0.0),
        ("jazz", "gs://bucket/song.flac", "gs://bucket/song.flac", 0.0),
    ]


def test_suffixes_on_the_page():
    assert f"suffix: {', '.join(f'`{suffix}`' for suffix in AUDIO_SUFFIXES)}." in " ".join(
        DOCS.split()
    )
