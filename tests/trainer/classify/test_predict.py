"""Labelling new audio with a classifier run, as a user does it."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from beam_features.__main__ import main as beam_features
from trainer.classify.__main__ import main
from trainer.config import TrainConfig
from trainer.data.features import open_features
from trainer.model.encoders import build_encoder
from trainer.model.export import export_encoder
from trainer.runtime.job_dir import claim_job_dir
from trainer.runtime.training_recordings import write_training_recordings
from trainer.train.resolve import resolve_config

RATE_HZ = 16_000
LABELS = {"high, shrill": 3000, "low": 300}
N_RECORDINGS = 40
SETTINGS = ("tile_s=0.25", "n_mels=32")


def write_tones(root: Path) -> None:
    """Stereo tones of 0.9 s in noise; in every second one, the last tile is digital silence."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(0.9 * RATE_HZ)) / RATE_HZ
    for index in range(N_RECORDINGS):
        label, hz = list(LABELS.items())[index % 2]
        tone = 0.1 * np.sin(2 * np.pi * hz * rng.uniform(0.5, 1.5) * time_s)
        channels = tone[:, None] * [1.0, 0.3] + rng.normal(0, 0.05, (len(tone), 2))
        if index % 4 > 1:
            channels[round(0.4 * RATE_HZ) :] = 0
        path = root / label / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, channels, RATE_HZ)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tones")
    write_tones(root)
    return root


def make_job(root: Path, audio: Path, channels: str) -> tuple[Path, Path]:
    """Features of all tones, and a job whose encoder is as training would have begun."""
    data, job = root / "features", root / "job"
    words = ("--dataset", "folder", "--input", audio, "--output", data, "--set", *SETTINGS)
    assert beam_features([str(word) for word in (*words, f"channels={channels}")]) == 0
    features = open_features(str(data))
    spec = features.info.feature_spec
    config = TrainConfig(encoder="dense", encoder_width=0.125, batch_size=16, embedding_size=8)
    resolved = resolve_config(config, features)
    claim_job_dir(str(job), resolved)
    moments = features.info.moments(["train"])
    encoder = build_encoder(resolved.architecture, spec.tile_shape, 8, moments, 0)
    export_encoder(encoder, spec, str(job))
    write_training_recordings(str(job), [])
    return data, job


@pytest.fixture(scope="module")
def mean(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_job(tmp_path_factory.mktemp("mean"), audio, "mean")


@pytest.fixture(scope="module")
def each(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_job(tmp_path_factory.mktemp("each"), audio, "all")


def fit_and_label(
    data: Path,
    job: Path,
    audio: Path,
    capsys: pytest.CaptureFixture[str],
    encoder: str,
    head: str,
    *settings: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the evaluation predicted for its test recordings, and the labels of all audio."""
    partitions = ("validation_partitions=[]", "test_partitions=[test,validation]")
    words = ("--data", str(data), "--job-dir", str(job), "--encoder", encoder, "--head", head)
    assert main([*words, "--set", *partitions, *settings]) == 0
    model = job / "classifier" / f"{encoder}-{head}"
    capsys.readouterr()
    assert main(["predict", "--model", str(model), str(audio)]) == 0
    found = pd.read_csv(io.StringIO(capsys.readouterr().out), index_col="recording")
    return pd.read_csv(model / "predictions.csv", index_col="recording_id"), found


@pytest.mark.parametrize(
    ("channels", "words"),
    [
        ("mean", ("trained", "logistic")),
        ("each", ("none", "dense", "recording_from=vectors", "dropouts=[0.0]")),
        ("each", ("random", "logistic")),
    ],
)
def test_a_file_has_the_posteriors_of_its_features(
    audio: Path,
    request: pytest.FixtureRequest,
    channels: str,
    words: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    data, job = request.getfixturevalue(channels)
    expected, found = fit_and_label(data, job, audio, capsys, *words)
    assert len(expected) > 4
    assert len(found) == N_RECORDINGS
    assert list(found.columns) == ["label", "p_high, shrill", "p_low"]
    same = found.loc[expected.index]
    columns = list(found.columns[1:])
    np.testing.assert_allclose(same[columns], expected[columns], atol=1e-3)
    assert (same["label"] == expected["predicted"]).mean() > 0.9  # unless both are as probable


def test_classifiers_of_earlier_versions(
    audio: Path, each: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """They said nothing of an overlap, and had one; vectors of recordings had no deviation."""
    info_path = each[1] / "classifier" / "none-logistic" / "model" / "model.json"
    tone = str(audio / "low" / "1.wav")
    for source, code in (("posteriors", 0), ("vectors", 2)):
        fit_and_label(*each, audio, capsys, "none", "logistic", f"recording_from={source}")
        info = json.loads(info_path.read_text())
        assert info.pop("overlap") == 4
        info_path.write_text(json.dumps(info))
        assert main(["predict", "--model", str(info_path.parents[1]), tone]) == code
    assert "fit the classifier again" in capsys.readouterr().err


def test_what_cannot_be_read_is_told_and_the_others_are_labelled(
    audio: Path, mean: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit_and_label(*mean, audio, capsys, "none", "logistic")
    words, good = tmp_path / "words.wav", audio / "low" / "1.wav"
    words.write_text("these are words")
    model = mean[1] / "classifier" / "none-logistic"
    assert main(["predict", "--model", str(model), str(words), str(good)]) == 1
    printed = capsys.readouterr()
    assert f"failed: {words}: not_audio: " in printed.err
    assert "error: 1 of 2 recordings could not be labelled" in printed.err
    header, row = printed.out.splitlines()
    assert header == 'recording,label,"p_high, shrill",p_low'
    assert row.startswith(f"{good},low,")


@pytest.mark.parametrize(
    ("model", "file", "message"),
    [
        ("none", "x.wav", "model.json does not exist; give a directory that python -m trainer"),
        ("none-logistic", "no/such.wav", "'no/such.wav' does not exist; check FILE"),
        ("none-logistic", "trainer", "no audio files below 'trainer'; left out "),
    ],
)
def test_bad_input_is_exit_2(
    audio: Path,
    mean: tuple[Path, Path],
    model: str,
    file: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    directory = mean[1] / "classifier"
    if not (directory / "none-logistic").exists():
        fit_and_label(*mean, audio, capsys, "none", "logistic")
    assert main(["predict", "--model", str(directory / model), file]) == 2
    assert message in capsys.readouterr().err
