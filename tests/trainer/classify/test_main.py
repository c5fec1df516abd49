"""The classifier command on a trained job, and what it writes."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import joblib
import matplotlib.pyplot as plt
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from beam_features.schema.feature_spec import FeatureSpec
from tests.trainer.synthetic import LABELS, SPEC, write_features
from tests.trainer.vectors import tile_table
from trainer.classify.__main__ import main
from trainer.data.features import open_features
from trainer.model.vectors import as_representation, log_mel_statistics

FILES = {
    "classification_report.txt",
    "confusion_matrix.png",
    "metrics.json",
    "model",
    "predictions.csv",
}


def classify(features: Path, job: Path, encoder: str) -> int:
    return main(["--data", str(features), "--job-dir", str(job), "--encoder", encoder])


@pytest.fixture(scope="module")
def job(trained_job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(trained_job, tmp_path_factory.mktemp("classify") / "job")


@pytest.fixture(scope="module")
def tables(features_dir: Path, job: Path) -> list[str]:
    printed = []
    for encoder in ("trained", "none", "random", "modulation"):
        with contextlib.redirect_stdout(io.StringIO()) as stdout:
            assert classify(features_dir, job, encoder) == 0
        printed.append(stdout.getvalue())
    return printed


@pytest.mark.parametrize("encoder", ["none", "modulation", "random", "trained"])
def test_scores_are_those_of_the_predictions(job: Path, tables: list[str], encoder: str) -> None:
    directory = job / "classifier" / f"{encoder}-logistic"
    assert {path.name for path in directory.iterdir()} == FILES
    metrics = json.loads((directory / "metrics.json").read_text())
    predictions = pd.read_csv(directory / "predictions.csv")
    assert sorted(predictions["recording_id"]) == sorted(f"test/{i}" for i in range(12))
    truth, predicted = predictions["label"], predictions["predicted"]
    assert metrics["recording"]["accuracy"] == accuracy_score(truth, predicted)
    assert metrics["recording"]["macro_f1"] == f1_score(truth, predicted, average="macro")
    assert metrics["recording"]["per_class"].keys() == set(LABELS)
    assert sum(c["support"] for c in metrics["tile"]["per_class"].values()) == 72
    posteriors = predictions[[f"p_{name}" for name in LABELS]]
    assert posteriors.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    assert (posteriors.idxmax(axis=1).str.removeprefix("p_") == predicted).all()


def test_the_table_grows_with_each_run(tables: list[str]) -> None:
    rows = [[line.split()[0] for line in table.splitlines()[2:]] for table in tables]
    assert rows == [
        ["trained-logistic"],
        ["none-logistic", "trained-logistic"],
        ["none-logistic", "random-logistic", "trained-logistic"],
        ["none-logistic", "modulation-logistic", "random-logistic", "trained-logistic"],
    ]


def test_the_confusion_matrix_is_a_picture(job: Path, tables: list[str]) -> None:
    png = (job / "classifier" / "none-logistic" / "confusion_matrix.png").read_bytes()
    height, width, _ = plt.imread(io.BytesIO(png)).shape
    assert height > 400
    assert width > 400


def test_tensorboard_shows_each_run_once(job: Path, tables: list[str]) -> None:
    assert {path.name for path in (job / "logs" / "classifier").iterdir()} == {
        "none-logistic",
        "modulation-logistic",
        "random-logistic",
        "trained-logistic",
    }
    directory = job / "logs" / "classifier" / "none-logistic"
    tags = EventAccumulator(str(directory), {"tensors": 0}).Reload().Tags()["tensors"]
    names = ("pca_by_label", "tsne_by_label", "label_distances", "confusion_matrix")
    assert sorted(tags) == sorted(f"figures/{name}" for name in names)


def test_the_saved_classifier_gives_the_saved_posteriors(
    features_dir: Path, job: Path, tables: list[str]
) -> None:
    directory = job / "classifier" / "none-logistic"
    saved = joblib.load(directory / "model" / "classifier.joblib")
    assert saved["label_names"] == LABELS
    represent = as_representation(log_mel_statistics(SPEC.tile_shape))
    tiles = tile_table(open_features(str(features_dir)), ["test"], represent, overlap=4)
    posteriors = saved["classifier"].predict_proba(tiles.vectors)
    predictions = pd.read_csv(directory / "predictions.csv", index_col="recording_id")
    for name in ("test/0", "test/7"):
        mean = posteriors[tiles.recording_ids == name].mean(axis=0)
        expected = predictions.loc[name, [f"p_{label}" for label in LABELS]]
        assert mean == pytest.approx(expected.to_numpy(float), abs=1e-5)


def test_unlabelled_data_are_refused(
    tmp_path: Path, trained_job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    songs = {"train": 24, "validation": 3, "test": 3}
    unlabelled = write_features(tmp_path / "features", songs, labelled=False)
    assert classify(unlabelled, trained_job, "none") == 2
    assert "has no labels, so there is nothing to classify" in capsys.readouterr().err


def test_features_of_other_settings_are_refused(
    tmp_path: Path, trained_job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = FeatureSpec(n_mels=8, tile_s=0.16)
    other = write_features(tmp_path / "features", {"train": 9}, spec=spec)
    assert classify(other, trained_job, "trained") == 2
    assert "the model is for features of fingerprint" in capsys.readouterr().err


def test_a_directory_without_a_run_is_refused(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify(features_dir, tmp_path, "none") == 2
    assert "holds no training run" in capsys.readouterr().err
