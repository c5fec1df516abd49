"""A directory as people have it, from audio to a classifier: what is said of each odd file."""

import contextlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.dataset
import pytest
import soundfile

from beam_features.__main__ import main as features_main
from trainer.classify.__main__ import main as classify_main
from trainer.embed.__main__ import main as embed_main
from trainer.report.__main__ import main as report_main
from trainer.train.__main__ import main as train_main

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
FORMATS = {"wav": "PCM_16", "flac": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
TINY = ("encoder=dense", "encoder_width=0.05", "encoder_depth=1", "epochs=1", "steps_per_epoch=4")


class Stage(NamedTuple):
    """Exit code of a command and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


class Library(NamedTuple):
    """The stages, each after those before it."""

    root: Path
    features: Stage
    train: Stage
    embed: Stage
    classify: Stage
    report: Stage


def tone(hz: float, seconds: float = 4.0) -> np.ndarray:
    """A tone in noise, of its own by pitch and seed."""
    time_s = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    noise = np.random.default_rng(int(hz)).normal(0, 0.02, len(time_s))
    return 0.3 * np.sin(2 * np.pi * hz * time_s) + noise


def write_library(root: Path) -> None:
    """Two albums of 16 songs in four formats, and one file of each kind that goes wrong."""
    for album, hz in (("Artist/High", 3000), ("Artist/Low", 300)):
        (root / album).mkdir(parents=True)
        for index, (suffix, subtype) in enumerate([*FORMATS.items()] * 4):
            path = root / album / f"song {index:02}.{suffix}"
            soundfile.write(path, tone(hz + 10 * index), RATE_HZ, subtype)
    odd = root / "Artist" / "Low"
    soundfile.write(odd / "silent.wav", np.zeros(4 * RATE_HZ), RATE_HZ)
    (odd / "broken.mp3").write_bytes(np.random.default_rng(0).bytes(50_000))
    soundfile.write(odd / "talk.opus", tone(500), RATE_HZ, "OPUS", format="OGG")
    (odd / "copy of song 00.wav").write_bytes((odd / "song 00.wav").read_bytes())
    one_side = tone(700)
    soundfile.write(odd / "antiphase.wav", np.stack([one_side, -one_side], axis=1), RATE_HZ)


def run(main: Callable[[list[str]], int], *words: object) -> Stage:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Stage(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("library")
    write_library(root / "music")
    data, job = root / "features", root / "job"
    of_job = ("--data", data, "--job-dir", job)
    source = ("--input", root / "music", "--output")
    return Library(
        root,
        run(features_main, "--dataset", "folder", *source, data, "--max-failure-rate", "0.1"),
        run(train_main, *of_job, "--set", *TINY),
        run(embed_main, "--model", job, *source, root / "vectors"),
        run(classify_main, *of_job, "--encoder", "none"),
        run(report_main, *of_job),
    )


def test_the_odd_files_do_not_stop_the_library(library: Library) -> None:
    assert library.features.code == library.train.code == 0, library.features.said
    assert library.classify.code == library.report.code == 0, library.classify.said
    assert "Traceback" not in "".join(stage.said for stage in library[1:])


def test_the_broken_file_is_listed_with_its_reason(library: Library) -> None:
    lines = (library.root / "features").glob("rejected-*.jsonl")
    (rejected,) = (json.loads(line) for path in lines for line in path.read_text().splitlines())
    assert rejected["uri"].endswith("broken.mp3")
    assert rejected["reason"] == "not_audio"
    assert re.search(r"not_audio +1  Artist/Low/broken.mp3", library.features.said)


def test_silence_is_counted(library: Library) -> None:
    info = json.loads((library.root / "features" / "dataset_info.json").read_text())
    assert sum(one["recordings"] for one in info["partitions"].values()) == 36
    assert 1 <= sum(one["silent"] for one in info["partitions"].values()) <= 2  # or cancelled


def test_every_other_recording_has_vectors(library: Library) -> None:
    """Opus is embedded; what cannot be read is named."""
    assert library.embed.code == 0, library.embed.said
    assert "broken.mp3" in library.embed.said
    table = pyarrow.dataset.dataset(library.root / "vectors").to_table().to_pandas()
    assert "talk.opus" in "".join(table["recording"].unique())
    assert table["recording"].nunique() == 36
    audible = table.groupby("recording")["audible"].any()
    assert audible[[name for name in audible.index if "silent" in name]].tolist() == [False]


def test_classes_are_the_two_albums(library: Library) -> None:
    run = library.root / "job" / "classifier" / "none-logistic"
    metrics = json.loads((run / "metrics.json").read_text())
    assert [name.rpartition("/")[2] for name in metrics["label_names"]] == ["High", "Low"]
    recordings = sum(one["support"] for one in metrics["recording"]["per_class"].values())
    assert 1 <= recordings < 10
    assert metrics["recording"]["macro_f1_ci95"] is None
    assert "no intervals below 10 test recordings" in library.classify.out
