"""`make demo` as the README says it, on one's own audio and on the embedded corpus."""

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.processes import ROOT

SAMPLE_RATE_HZ = 16_000
TINY = "batch_size: 8\nepochs: 1\nembedding_size: 8\n"


def make_demo(out: Path, *variables: str) -> str:
    """Run it; return what it printed."""
    finished = subprocess.run(
        ["make", "demo", f"OUT={out}", *variables], cwd=ROOT, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def write_tones(directory: Path, *, labelled: bool) -> None:
    """30 recordings of 3 s, a tone in noise; each of three labels has a pitch."""
    rng = np.random.default_rng(0)
    time_s = np.arange(3 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for index in range(30):
        label, hz = [("low", 300), ("middle one", 1000), ("high", 3000)][index % 3]
        tone = 0.2 * np.sin(2 * np.pi * hz * rng.uniform(0.9, 1.1) * time_s)
        path = directory / (label if labelled else "") / f"take {index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone + rng.normal(0, 0.05, len(tone)), SAMPLE_RATE_HZ)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.mark.slow
def test_demo_on_a_folder_ends_with_the_table(tmp_path: Path, config: Path) -> None:
    write_tones(tmp_path / "my music", labelled=True)
    variables = ("DATASET=folder", f"INPUT={tmp_path / 'my music'}", f"CONFIG={config}")
    printed = make_demo(tmp_path / "out", *variables)
    accuracy = {}
    for name in ("none-logistic", "modulation-logistic", "random-logistic", "trained-logistic"):
        assert f"\n{name} " in printed
        metrics = tmp_path / "out" / "job" / "classifier" / name / "metrics.json"
        accuracy[name] = json.loads(metrics.read_text())["recording"]["accuracy"]
    assert accuracy["none-logistic"] == 1  # the tones differ in pitch
    assert accuracy["random-logistic"] > 0.3  # after two steps, `trained` may be anything
    assert f"tensorboard --logdir {tmp_path / 'out' / 'job' / 'logs'}" in printed


def test_demo_without_labels_trains_and_says_so(tmp_path: Path, config: Path) -> None:
    write_tones(tmp_path / "flat", labelled=False)
    tiny = "TRAIN_OPTIONS=--set encoder=dense encoder_width=0.05 encoder_depth=1 steps_per_epoch=1"
    variables = ("DATASET=folder", f"INPUT={tmp_path / 'flat'}", f"CONFIG={config}", tiny)
    printed = make_demo(tmp_path / "out", *variables)
    assert "no labels, so nothing to classify" in printed
    assert (tmp_path / "out" / "job" / "export" / "encoder.keras").exists()
    page = (tmp_path / "out" / "job" / "report.html").read_text()
    assert "from 30 recordings" in page
    assert "Was the training worth it?" in page
    assert 'href="../map.html"' in page
    similar = printed.split("== dem similar ")[1].splitlines()
    assert similar[1].split() == ["similarity", "length", "recording"]
    assert [line.split()[1] for line in similar[2:5]] == ["0:03"] * 3
    assert "../flat/take%200.wav" in (tmp_path / "out" / "map.html").read_text()


def write_few(directory: Path) -> None:
    """Four songs of 4 s, one silent, one that is not audio and one in Opus."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    time_s = np.arange(4 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    for index in range(4):
        tone = 0.2 * np.sin(2 * np.pi * 300 * (index + 1) * time_s)
        soundfile.write(
            directory / f"song {index}.flac", tone + rng.normal(0, 0.05, len(tone)), SAMPLE_RATE_HZ
        )
    soundfile.write(directory / "silent.wav", np.zeros(len(time_s)), SAMPLE_RATE_HZ)
    (directory / "broken.mp3").write_bytes(rng.bytes(20_000))
    soundfile.write(directory / "talk.opus", tone, SAMPLE_RATE_HZ, "OPUS", format="OGG")


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [False, True])
def test_demo_on_few_odd_files_ends_with_the_report(tmp_path: Path, *, labelled: bool) -> None:
    """24 tiles, so a small batch; one label at most, so no classifier."""
    write_few(tmp_path / "music" / ("album" if labelled else ""))
    variables = ("DATASET=folder", f"INPUT={tmp_path / 'music'}", "TRAIN_OPTIONS=--set epochs=1")
    printed = make_demo(tmp_path / "out", *variables)
    assert re.search(r"not_audio +1 .*broken.mp3", printed)
    assert ("no classifier" if labelled else "nothing to classify") in printed
    assert "classifiers: " not in printed
    page = (tmp_path / "out" / "job" / "report.html").read_text()
    assert "<h2>Nearest neighbours</h2>" in page
    assert "== dem similar " in printed


@pytest.mark.slow
def test_demo_on_the_sample_corpus_learns(tmp_path: Path) -> None:
    make_demo(tmp_path / "out")
    classifiers = tmp_path / "out" / "job" / "classifier"
    scores = {
        name: json.loads((classifiers / f"{name}-logistic" / "metrics.json").read_text())
        for name in ("none", "modulation", "random", "trained")
    }
    macro_f1 = {
        unit: {name: score[unit]["macro_f1"] for name, score in scores.items()}
        for unit in ("recording", "tile")
    }
    for score in macro_f1.values():
        assert max(score["none"], score["modulation"]) < 0.3  # chance is 0.125
        assert score["trained"] > score["random"] + 0.08
    assert macro_f1["recording"]["trained"] > 0.75


@pytest.mark.slow
def test_demo_tune_ends_with_the_table_and_the_figure(tmp_path: Path) -> None:
    out = tmp_path / "out"
    finished = subprocess.run(
        ["make", "demo-tune", f"OUT={out}", "TUNE_OPTIONS=--set trials=3 space.epochs=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    lines = [line.split() for line in finished.stdout.splitlines()]
    (header,) = (n for n, line in enumerate(lines) if line[:2] == ["trial", "status"])
    recalls = [float(line[2]) for line in lines[header + 1 : header + 4]]
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[-1] > 0.2  # tiles near in time do not count; chance is below 0.1
    assert (out / "tune" / "trials.png").stat().st_size > 10_000
    assert f"tensorboard --logdir {out}/tune/trials" in finished.stdout
