"""The cross-validation command on two folds and an evaluation set of synthetic songs."""

import contextlib
import io
import json
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score

from tests.trainer.synthetic import write_features
from trainer.crossval.__main__ import main
from trainer.runtime.job_dir import read_job_config

FOLDS = ("fold1", "fold2")
SETTINGS = (
    *("encoder=dense", "encoder_width=0.125", "embedding_size=8"),
    *("batch_size=8", "epochs=1", "steps_per_epoch=2"),
)


def crossval(data: Path, job: Path, mode: str, *more: str) -> tuple[int, str]:
    """Exit code and stdout of the command."""
    words = ("--data", data, "--job-dir", job, f"--{mode}", *more, "--set", *SETTINGS)
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        return main(list(map(str, words))), stdout.getvalue()


@pytest.fixture(scope="module")
def folds_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    songs = dict.fromkeys(FOLDS, 6) | {"eval-known": 3}
    return write_features(tmp_path_factory.mktemp("folds") / "features", songs)


@pytest.fixture(scope="module")
def inductive(folds_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    job = tmp_path_factory.mktemp("crossval") / "job"
    code, table = crossval(folds_dir, job, "inductive", "--encoder", "none", "trained")
    assert code == 0
    return job, table


@pytest.mark.slow
def test_every_encoder_was_trained_without_what_it_is_tested_on(
    inductive: tuple[Path, str],
) -> None:
    encoders = inductive[0] / "inductive" / "encoders"
    heard = {path.name: read_job_config(str(path)).train_partitions for path in encoders.iterdir()}
    assert heard == {
        "without-fold1": ("fold2",),
        "without-fold2": ("fold1",),
        "folds": FOLDS,
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["none-logistic", "trained-logistic"])
def test_scores_are_those_of_all_folds_predictions(inductive: tuple[Path, str], name: str) -> None:
    home = inductive[0] / "inductive"
    summary = json.loads((home / f"{name}.json").read_text())
    parts = [pd.read_csv(home / "classifiers" / fold / name / "predictions.csv") for fold in FOLDS]
    table = pd.concat(parts)
    expected_ids = sorted(f"{fold}/{index}" for fold in FOLDS for index in range(6))
    assert sorted(table["recording_id"]) == expected_ids
    truth, predicted = table["label"], table["predicted"]
    assert summary["folds"]["recordings"] == 12
    assert summary["folds"]["accuracy"] == accuracy_score(truth, predicted)
    assert summary["folds"]["macro_f1"] == f1_score(truth, predicted, average="macro")
    assert summary["folds"]["knn_accuracy"] == accuracy_score(truth, table["knn_predicted"])
    accuracies = [accuracy_score(part["label"], part["predicted"]) for part in parts]
    assert summary["mean_over_folds"]["accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert set(summary["per_split"]) == {*FOLDS, "eval-known"}


@pytest.mark.slow
def test_the_table_says_which_it_is(inductive: tuple[Path, str]) -> None:
    lines = inductive[1].splitlines()
    assert lines[0].startswith("inductive: each encoder was trained without the audio")
    assert lines[1].startswith("12 recordings, each tested once")
    assert [line.split()[0] for line in lines[3:]] == [
        *("none-logistic", "mean", "eval-known"),
        *("trained-logistic", "mean", "eval-known"),
    ]


@pytest.mark.slow
def test_a_rerun_does_nothing_again_and_other_settings_are_refused(
    folds_dir: Path, inductive: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    job, table = inductive
    before = {
        path: path.stat().st_mtime_ns
        for name in ("encoders", "classifiers")
        for path in (job / "inductive" / name).rglob("*")
    }
    assert crossval(folds_dir, job, "inductive", "--encoder", "none", "trained") == (0, table)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = ("--encoder", "none", "--set-classifier", "strengths=[1.0]")
    code, _ = crossval(folds_dir, job, "inductive", *other)
    assert code == 2
    assert "was made with other settings: strengths" in capsys.readouterr().err


def test_transductive_is_one_encoder_and_says_so(folds_dir: Path, tmp_path: Path) -> None:
    code, table = crossval(
        folds_dir, tmp_path, "transductive", "--encoder", "modulation", "trained"
    )
    assert code == 0
    assert table.startswith("transductive: one encoder was trained on all audio")
    (encoder,) = (tmp_path / "transductive" / "encoders").iterdir()
    assert read_job_config(str(encoder)).train_partitions == (*FOLDS, "eval-known")
    metrics = tmp_path / "transductive/classifiers/fold2/trained-logistic/metrics.json"
    assert json.loads(metrics.read_text())["transductive"] is True
    names = {
        f"{name}{shift}.parquet"
        for name in (*FOLDS, "eval-known")
        for shift in ("", "+4", "+8", "+12")
    }
    for home in (encoder / "vectors/trained", tmp_path / "transductive/vectors/modulation"):
        assert {path.name for path in home.iterdir()} == names  # by all splits


def test_data_without_folds_are_refused(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = crossval(features_dir, tmp_path, "inductive")
    assert code == 2
    assert "there are: train, validation, test; measure a single split" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
