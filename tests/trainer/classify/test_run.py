"""What a classifier run may be measured on, and what its scores are."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

from beam_features.schema.dataset_info import DATASET_INFO, dump_dataset_info
from tests.trainer.synthetic import (
    LABELS,
    SHARDS,
    SPEC,
    label_songs,
    shuffle_labels,
    write_features,
)
from tests.trainer.vectors import tile_table
from trainer.classify.__main__ import main
from trainer.classify.heads.dense import DenseHead
from trainer.classify.heads.logistic import LogisticHead
from trainer.classify.run import evaluate
from trainer.config import ClassifyConfig, TrainConfig
from trainer.data.features import open_features
from trainer.data.vector_table import recording_table
from trainer.model.files import load_keras
from trainer.model.vectors import as_representation, log_mel_statistics
from trainer.runtime.job_dir import TRAINING_RECORDINGS, claim_job_dir
from trainer.train.resolve import resolve_config
from trainer.train.run import train

SETTINGS = {
    "encoder": "dense",
    "encoder_width": 0.125,
    "batch_size": 16,
    "epochs": 1,
    "steps_per_epoch": 2,
    "embedding_size": 8,
    "margin": 1.0,
}


def classify(features: Path, job: Path, *words: object) -> int:
    return main(["--data", str(features), "--job-dir", str(job), *map(str, words)])


def metrics_of(job: Path, run: str) -> dict:
    return json.loads((job / "classifier" / run / "metrics.json").read_text())


@pytest.fixture(scope="module")
def job(trained_job: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(trained_job, tmp_path_factory.mktemp("evaluation") / "job")


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Features that hold the test recordings twice, and a job that was trained on the others."""
    root = tmp_path_factory.mktemp("leaking")
    songs = {"train": 24, "validation": 9, "test": 12}
    features = write_features(root / "features", songs)
    for shard in range(SHARDS):
        copy = features / f"more-{shard:05d}-of-{SHARDS:05d}.tfrecord"
        copy.write_bytes((features / f"test-{shard:05d}-of-{SHARDS:05d}.tfrecord").read_bytes())
    info = open_features(str(features)).info
    more = dataclasses.replace(info.partitions["test"], shards=f"more-*-of-{SHARDS:05d}.tfrecord")
    info = dataclasses.replace(info, partitions=info.partitions | {"more": more})
    (features / DATASET_INFO).write_text(dump_dataset_info(info))
    partitions = {
        "train_partitions": ("train", "more"),
        "validation_partitions": ("validation",),
        "test_partitions": ("test",),
    }
    job, config = root / "job", TrainConfig(**SETTINGS, **partitions)
    train(str(features), str(job), config, terminated=lambda: False)
    return features, job


def test_a_job_tells_what_it_was_trained_on(trained_job: Path) -> None:
    table = pq.read_table(trained_job / TRAINING_RECORDINGS)
    assert table.column_names == ["recording"]
    assert table["recording"].to_pylist() == sorted(f"train/{i}" for i in range(24))


def test_test_recordings_under_another_name_are_refused(
    leaking: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    features, job = leaking
    assert classify(features, job, "--set", "train_partitions=[train]") == 2
    line = capsys.readouterr().err.strip()
    assert "was trained on 12 of 12 test recordings, such as 'test/0'; choose" in line
    assert "--transductive" in line
    assert not (job / "classifier").exists()


def test_transductive_runs_say_so(
    leaking: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    features, job = leaking
    words = ("--set", "train_partitions=[train]")
    assert classify(features, job, "--transductive", *words) == 0
    assert classify(features, job, "--encoder", "none", *words) == 0  # none and random heard none
    none, trained = capsys.readouterr().out.splitlines()[-2:]
    assert trained.split()[-1] == "transductive"
    assert "transductive" not in none
    assert metrics_of(job, "trained-logistic")["transductive"] is True
    assert metrics_of(job, "none-logistic")["transductive"] is False


@pytest.mark.parametrize("encoder", ["none", "trained"])
def test_labels_of_test_recordings_are_refused_even_to_transductive_runs(
    leaking: tuple[Path, Path], encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    features, job = leaking
    assert classify(features, job, "--transductive", "--encoder", encoder) == 2
    line = capsys.readouterr().err.strip()
    assert "12 of 12 test recordings, such as 'test/0', are in the train_partitions, too" in line


def test_a_job_that_does_not_tell_is_refused(
    features_dir: Path, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As training left it before it told."""
    told = job / TRAINING_RECORDINGS
    told.rename(job / "aside")
    try:
        assert classify(features_dir, job) == 2
        line = capsys.readouterr().err.strip()
        assert "train again with this version, or add --transductive" in line
        assert classify(features_dir, job, "--transductive") == 0
    finally:
        (job / "aside").rename(told)


def test_other_partitions_than_those_of_the_training(features_dir: Path, job: Path) -> None:
    words = ("--set", "train_partitions=[test]", "validation_partitions=[]")
    assert classify(features_dir, job, *words, "test_partitions=[validation]") == 0
    metrics = metrics_of(job, "trained-logistic")
    assert metrics["train_partitions"] == ["test"]
    assert metrics["validation_partitions"] == []
    assert metrics["test_partitions"] == ["validation"]
    predictions = pd.read_csv(job / "classifier/trained-logistic/predictions.csv")
    assert sorted(predictions["recording_id"]) == sorted(f"validation/{i}" for i in range(9))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train_partitions=[test]", "partition 'test' is listed twice among train_partitions"),
        ("test_partitions=[tset]", "no partition 'tset' in"),
        ("test_partitions=[]", "no labelled tiles in test_partitions=[]; name some that hold"),
    ],
)
def test_bad_partitions_are_exit_2(
    features_dir: Path, job: Path, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert classify(features_dir, job, "--encoder", "none", "--set", word) == 2
    assert message in capsys.readouterr().err


def test_corrupt_records_are_skipped_as_in_training(
    tmp_path: Path, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job tolerates 10; the setting is one of training, so the message does not name it."""
    songs = {"train": 24, "validation": 9, "test": 30}
    data = write_features(tmp_path / "features", songs)
    shard = data / "test-00000-of-00002.tfrecord"
    damaged = bytearray(shard.read_bytes())
    record = len(damaged) // 15  # of 6 tiles; all are nearly equally long
    for number in range(10):
        damaged[record * number + 900] ^= 1
    shard.write_bytes(damaged)
    for _ in range(2):  # the second time, the vectors are stored
        assert classify(data, job, "--encoder", "none") == 0
        assert "10 corrupt records were skipped; up to 10 are tolerated" in capsys.readouterr().err
    damaged[record * 10 + 900] ^= 1
    shard.write_bytes(damaged)
    assert classify(data, job, "--encoder", "none") == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"11 corrupt records are more than the 10 that the training of {job} tolerates" in line
    assert "corrupt_records_budget" not in line


@pytest.mark.parametrize(
    ("source", "overlap"), [("posteriors", 1), ("posteriors", 2), ("vectors", 1), ("vectors", 2)]
)
def test_a_recording_of_two_sensors_counts_once(
    tmp_path: Path, job: Path, source: str, overlap: int
) -> None:
    """Its posteriors are the mean over the tiles of both, or those of one vector for both."""
    songs = {"train": 24, "validation": 9, "test": 12}
    data = write_features(tmp_path / "features", songs, sensors=2)
    words = ("--encoder", "none", "--set", f"recording_from={source}", f"overlap={overlap}")
    assert classify(data, job, *words) == 0
    metrics = metrics_of(job, "none-logistic")
    assert (metrics["recording_from"], metrics["overlap"]) == (source, overlap)
    assert sum(one["support"] for one in metrics["tile"]["per_class"].values()) == 12 * 6 * 2
    assert sum(one["support"] for one in metrics["recording"]["per_class"].values()) == 12
    run = job / "classifier" / "none-logistic"
    predictions = pd.read_csv(run / "predictions.csv", index_col="recording_id")
    assert len(predictions) == 12
    represent = as_representation(log_mel_statistics(SPEC.tile_shape))
    tiles = tile_table(open_features(str(data)), ["test"], represent, overlap)
    mine = tiles.select(tiles.recording_ids == "test/7")
    assert len(mine.labels) == (12 if overlap == 1 else 12 + 10)
    if source == "posteriors":
        of_tiles = LogisticHead.load(str(run / "model/classifier")).predict_proba(mine.vectors)
        expected = of_tiles.mean(axis=0)
    else:
        head = LogisticHead.load(str(run / "model/recording_classifier"))
        (expected,) = head.predict_proba(recording_table(mine).vectors)
    found = predictions.loc["test/7", [f"p_{name}" for name in LABELS]].to_numpy(float)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_shuffled_training_labels_score_chance(tmp_path: Path) -> None:
    """Three labels: 1/3, give or take 0.15 in the mean of five shuffles; the true ones score 1.

    A single shuffle deviates by 0.14: recordings of a label lie together and share their errors.
    """
    data = write_features(tmp_path / "features", {"train": 60, "test": 60})
    job = str(tmp_path / "job")
    claim_job_dir(job, resolve_config(TrainConfig(**SETTINGS), open_features(str(data))))

    def results() -> dict:
        directory, config = str(tmp_path / "run"), ClassifyConfig(strengths=(0.1,))
        return evaluate(str(data), job, "none", "logistic", config, directory=directory)[
            "recording"
        ]

    recordings = [results()]
    for seed in range(5):
        shuffle_labels(data, "train", seed)
        recordings.append(results())
    true, *shuffled = [result["accuracy"] for result in recordings]
    assert true > 0.95
    assert np.mean(shuffled) == pytest.approx(1 / 3, abs=0.15)
    true, *shuffled = [result["knn_accuracy"] for result in recordings]
    assert true > 0.95
    assert np.mean(shuffled) == pytest.approx(1 / 3, abs=0.15)


def test_nearest_neighbours_are_told_for_recordings(features_dir: Path, job: Path) -> None:
    assert classify(features_dir, job, "--encoder", "random") == 0
    features = open_features(str(features_dir))
    encoder = load_keras(str(job / "classifier/random-logistic/model/encoder.keras"))
    represent = as_representation(encoder)
    train, test = (
        recording_table(tile_table(features, [name], represent)) for name in ("train", "test")
    )
    nearest = KNeighborsClassifier(5, metric="cosine").fit(train.vectors, train.labels)
    metrics = metrics_of(job, "random-logistic")
    assert metrics["label_names"] == list(LABELS)
    expected = nearest.score(test.vectors, test.labels)
    assert metrics["recording"]["knn_accuracy"] == pytest.approx(expected)


def test_the_dense_head_is_scored_and_kept(features_dir: Path, job: Path) -> None:
    """Its scores are scikit-learn's of the predictions, and a rerun gives the same network."""
    run = job / "classifier" / "none-dense"
    words = ("--encoder", "none", "--head", "dense", "--set", "dropouts=[0.25]")
    assert classify(features_dir, job, *words, "recording_from=vectors") == 0
    metrics = metrics_of(job, run.name)
    predictions = pd.read_csv(run / "predictions.csv")
    truth, predicted = predictions["label"], predictions["predicted"]
    assert metrics["recording"]["accuracy"] == accuracy_score(truth, predicted) > 0.9
    assert metrics["recording"]["macro_f1"] == f1_score(truth, predicted, average="macro")
    assert metrics["regularisation"] == {"tile": 0.25, "recording": 0.25}
    files = {"classifier.keras", "encoder.keras", "model.json"}
    there = {path.name for path in (run / "model").iterdir()}
    assert there == files | {"recording_classifier.keras"}
    tiles = tile_table(
        open_features(str(features_dir)),
        ["test"],
        as_representation(log_mel_statistics(SPEC.tile_shape)),
    ).vectors
    before = DenseHead.load(str(run / "model" / "classifier")).predict_proba(tiles)
    assert classify(features_dir, job, *words) == 0
    assert {path.name for path in (run / "model").iterdir()} == files
    again = DenseHead.load(str(run / "model" / "classifier")).predict_proba(tiles)
    np.testing.assert_allclose(again, before, atol=1e-5)


def test_the_supervised_encoder_is_kept(features_dir: Path, tmp_path: Path) -> None:
    job, config = tmp_path / "job", TrainConfig(**SETTINGS)
    claim_job_dir(str(job), resolve_config(config, open_features(str(features_dir))))
    run = job / "classifier" / "supervised-logistic"
    assert classify(features_dir, job, "--encoder", "supervised") == 0
    assert metrics_of(job, run.name)["transductive"] is False
    encoder = load_keras(str(run / "model" / "encoder.keras"))
    represent = as_representation(encoder)
    tiles = tile_table(open_features(str(features_dir)), ["test"], represent, overlap=4)
    mine = tiles.select(tiles.recording_ids == "test/7")
    head = LogisticHead.load(str(run / "model" / "classifier"))
    expected = head.predict_proba(mine.vectors).mean(axis=0)
    predictions = pd.read_csv(run / "predictions.csv", index_col="recording_id")
    found = predictions.loc["test/7", [f"p_{name}" for name in LABELS]].to_numpy(float)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def small_set(root: Path, **labels: list[int]) -> tuple[Path, Path]:
    """Features whose songs have these labels by partition, and a job that was not trained."""
    data = write_features(root / "features", {name: len(of) for name, of in labels.items()})
    for partition, of_songs in labels.items():
        label_songs(data, partition, of_songs)
    job, config = root / "job", TrainConfig(**SETTINGS | {"batch_size": 2})
    claim_job_dir(str(job), resolve_config(config, open_features(str(data))))
    return data, job


def macro_average(run: Path) -> float:
    """Macro-F1 per recording in the report for reading."""
    lines = (run / "classification_report.txt").read_text().splitlines()
    return float(next(line for line in lines if "macro avg" in line).split()[4])


def test_labels_that_were_never_trained_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of three test recordings the flute is wrong for certain, so macro-F1 is at most 2/3."""
    data, job = small_set(tmp_path, train=[0, 0, 1, 1], validation=[0, 2], test=[0, 1, 2])
    assert classify(data, job, "--encoder", "none") == 0
    said = capsys.readouterr()
    of = "no training recording has label 'flute': 1 of"
    assert f"warning: {of} 2 recordings of validation can only be classified wrongly" in said.err
    assert f"warning: {of} 3 recordings of test can only be classified wrongly" in said.err
    metrics = metrics_of(job, "none-logistic")
    assert metrics["unseen_labels"] == {"flute": 1}
    scores = metrics["recording"]
    assert scores["per_class"]["flute"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert scores["macro_f1"] <= 2 / 3
    assert scores["macro_f1_ci95"] is scores["accuracy_ci95"] is None
    run = job / "classifier" / "none-logistic"
    assert macro_average(run) == pytest.approx(scores["macro_f1"], abs=5e-4)
    assert said.out.splitlines()[-1].startswith("no intervals below 10 test recordings")


def test_a_name_without_recordings_is_no_class(tmp_path: Path) -> None:
    """As after an update of the features that left no recording of a label."""
    data, job = small_set(tmp_path, train=[0, 0, 2, 2], test=[0, 2, 2])
    assert classify(data, job, "--encoder", "none") == 0
    metrics = metrics_of(job, "none-logistic")
    assert metrics["label_names"] == list(metrics["recording"]["per_class"]) == ["bell", "flute"]
    assert metrics["unseen_labels"] == {}
    run = job / "classifier" / "none-logistic"
    predictions = pd.read_csv(run / "predictions.csv")
    assert [name for name in predictions if name.startswith("p_")] == ["p_bell", "p_flute"]
    assert "drum" not in (run / "classification_report.txt").read_text()
    assert json.loads((run / "model" / "model.json").read_text())["label_names"] == [
        "bell",
        "flute",
    ]


@pytest.mark.parametrize("head", ["logistic", "dense"])
@pytest.mark.parametrize(
    "train", [[0, 1, 2], [0, 0, 0, 0, 1], [0, 1]], ids=["one each", "one and four", "two"]
)
def test_classes_of_one_recording_without_validation(
    tmp_path: Path, train: list[int], head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is held out may leave a single label, which no classifier can be fitted to."""
    data, job = small_set(tmp_path, train=train, test=[0, 1])
    words = ("--encoder", "none", "--head", head, "--set", "dropouts=[0.5]", "strengths=[1.0, 0.1]")
    code = classify(data, job, *words)
    said = capsys.readouterr().err
    if head == "dense" and len(train) == 2:
        assert code == 2
        assert "of one session per label, so none can be held out" in said
    else:
        assert code == 0
        assert "one training recording only: label" in said


@pytest.mark.parametrize("head", ["logistic", "dense"])
def test_a_single_label_is_named(
    tmp_path: Path, head: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, job = small_set(tmp_path, train=[1, 1, 1], test=[1])
    assert classify(data, job, "--encoder", "none", "--head", head) == 2
    said = capsys.readouterr().err
    assert "have one label, and a classifier needs two; choose other train_partitions, or" in said
    assert "add recordings that are not 'drum'" in said


def test_features_that_changed_after_the_training_need_partitions(
    tmp_path: Path, job: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The partitions of the job are those of its own features; a job can be measured on others."""
    data = write_features(tmp_path / "features", {"train": 25, "validation": 9, "test": 12})
    assert classify(data, job) == 2
    assert "was trained on, or has changed since; train again in another" in capsys.readouterr().err
    words = ("--set", "train_partitions=[validation]", "test_partitions=[test]")
    assert classify(data, job, *words, "validation_partitions=[]") == 0
