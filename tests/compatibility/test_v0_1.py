"""What version 0.1 wrote is read by this version, or refused by name.

``v0_1/`` was written by version 0.1: features of 12 tones (a CSV dataset), a finished job with
three classifiers, a job stopped after the first of its two epochs, and ``expected.json``, what
version 0.1 computed with them.
"""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import beam_features.__main__ as features_command
from tests.processes import error_in
from trainer.classify.__main__ import main as classify
from trainer.model.load import open_model
from trainer.train.__main__ import main as train

SETTINGS = (
    *("encoder=conv1d", "encoder_width=0.0625", "encoder_depth=2", "embedding_size=4"),
    *("batch_size=4", "epochs=2", "steps_per_epoch=3", "neighbourhood_s=2", "seed=3"),
    *("learning_rate_decay=cosine", "warmup_steps=2"),
)
FEATURE_SETTINGS = (
    *("sample_rate_hz=8000", "window_s=0.05", "hop_s=0.04"),
    *("fft_length=512", "n_mels=12", "tile_s=0.8"),
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(Path(__file__).parent / "v0_1", tmp_path / "old")
    return tmp_path / "old"


@pytest.fixture
def expected(old: Path) -> dict[str, Any]:
    return dict(json.loads((old / "expected.json").read_text()))


def test_finished_features_are_complete(
    old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(old)
    words = ("--dataset", "csv", "--input", "audio.csv", "--output", "features", "--shards", "1")
    assert features_command.main([*words, "--set", *FEATURE_SETTINGS]) == 0
    said = "".join(capsys.readouterr())
    assert "features is already complete, nothing to do" in said


@pytest.mark.parametrize("model", ["job", "job/export/encoder.keras"])
def test_models_give_the_same_vectors(old: Path, expected: dict[str, Any], model: str) -> None:
    waveform, rate_hz = soundfile.read(old / "audio" / "low10.wav", dtype="float32")
    embeddings, start_s = open_model(str(old / model)).embed_waveform(waveform, rate_hz)
    np.testing.assert_allclose(embeddings, expected[model]["embeddings"], atol=1e-5)
    assert start_s.tolist() == expected[model]["start_s"]


@pytest.mark.parametrize("run", ["trained-logistic", "trained-dense", "none-logistic"])
def test_classifiers_give_the_same_posteriors(
    old: Path, expected: dict[str, Any], run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = old / "job" / "classifier" / run, old / "audio" / "low10.wav"
    assert classify(["predict", "--model", str(model), str(file)]) == 0
    (row,) = csv.DictReader(capsys.readouterr().out.splitlines())
    posteriors = [float(row["p_high"]), float(row["p_low"])]
    np.testing.assert_allclose(posteriors, expected[run], atol=1e-5)


def test_a_stopped_job_is_refused_and_kept(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = old / "half_job"
    before = {path: path.read_bytes() for path in half.rglob("*") if path.is_file()}
    words = ("--data", str(old / "features"), "--job-dir", str(half))
    assert train([*words, "--set", *SETTINGS]) == 2
    line = error_in(capsys.readouterr().err)
    assert f"{half}/checkpoints holds checkpoints of version 0.3 or earlier" in line
    assert {path: path.read_bytes() for path in half.rglob("*") if path.is_file()} == before


def test_a_finished_job_is_finished(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--data", str(old / "features"), "--job-dir", str(old / "job"))
    assert train([*words, "--set", *SETTINGS]) == 0
    assert "is finished already, nothing to do" in capsys.readouterr().err


def test_a_finished_job_is_classified_again(old: Path, expected: dict[str, Any]) -> None:
    words = ("--data", str(old / "features"), "--job-dir", str(old / "job"))
    before = json.loads((old / "job/classifier/trained-logistic/metrics.json").read_text())
    assert classify([*words, "--encoder", "trained"]) == 0
    after = json.loads((old / "job/classifier/trained-logistic/metrics.json").read_text())
    no_intervals = {"macro_f1_ci95": None, "accuracy_ci95": None}  # of 2 recordings, since 0.3
    for level in ("recording", "tile"):
        assert after[level] == before[level] | no_intervals
