"""The commands of docs/dcase.md, on a small home in the layout of the set."""

import contextlib
import io
import json
import re
import shlex
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dem.__main__ import main
from dem.settings import load_settings
from dem.storage import read_text
from tests.dcase import ACTIVITIES, CHANNELS, FOLDS, KNOWN_NODES, UNKNOWN_NODES, write_home
from tests.processes import ROOT

COMMANDS = re.findall(
    r"^\.venv/bin/dem (?!download)(.*)$", (ROOT / "docs/dcase.md").read_text(), re.MULTILINE
)
BUDGET = ("--set", "encoder_width=0.125", "batch_size=32", "epochs=1", "steps_per_epoch=3")
FOLD_NAMES = tuple(f"fold{fold}" for fold in FOLDS)
RUNS = ("none-logistic", "modulation-logistic", "random-logistic", "trained-logistic")
SEGMENTS = {  # per partition: nine activities, one session each, one segment, every node
    **dict.fromkeys(FOLD_NAMES, len(ACTIVITIES) * len(KNOWN_NODES)),
    "eval-known": len(ACTIVITIES) * len(KNOWN_NODES),
    "eval-unknown": len(ACTIVITIES) * len(UNKNOWN_NODES),
}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that the commands ran in; ``table.txt`` is what the last one printed."""
    home = tmp_path_factory.mktemp("home")
    write_home(home / "DATA", seconds=4.0)
    (home / "configs").symlink_to(ROOT / "configs")
    with contextlib.chdir(home):
        for command in COMMANDS:
            words = shlex.split(command)
            with contextlib.redirect_stdout(io.StringIO()) as stdout:
                assert main([*words, *(BUDGET if words[0] == "crossval" else ())]) == 0
            (home / "table.txt").write_text(stdout.getvalue())
    return home


@pytest.fixture(scope="module")
def sources(home: Path) -> pd.DataFrame:
    """What the features know of each segment."""
    return pd.read_parquet(home / "features/dcase/sources.parquet")


def read_summary(home: Path, run: str) -> dict:
    return json.loads((home / "jobs/dcase/inductive" / f"{run}.json").read_text())


def test_both_commands_are_on_the_page() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["features", "crossval"]


def test_no_session_is_in_two_folds_or_in_both_sets(sources: pd.DataFrame) -> None:
    assert Counter(sources["partition"]) == SEGMENTS
    by_session = sources.groupby("session")["partition"].unique()
    shared = {tuple(sorted(names)) for names in by_session if len(names) > 1}
    assert shared == {("eval-known", "eval-unknown")}
    assert len(by_session) == len(ACTIVITIES) * (len(FOLDS) + 1)


@pytest.mark.parametrize("run", RUNS)
def test_every_fold_and_both_groups_of_microphones_have_scores(home: Path, run: str) -> None:
    summary = read_summary(home, run)
    assert set(summary["per_split"]) == set(SEGMENTS)
    for partition, scores in summary["per_split"].items():
        assert (
            sum(one["support"] for one in scores["recording"]["per_class"].values())
            == (SEGMENTS[partition])
        )
        assert 0 <= scores["recording"]["macro_f1"] <= 1
        assert len(scores["recording"]["macro_f1_ci95"]) == 2
        assert scores["unseen_labels"] == {}
    assert summary["folds"]["recordings"] == sum(SEGMENTS[fold] for fold in FOLD_NAMES)
    mean = np.mean([summary["per_split"][f]["recording"]["macro_f1"] for f in FOLD_NAMES])
    assert summary["mean_over_folds"]["macro_f1"] == pytest.approx(mean)


def test_statistics_know_the_activities_and_less_of_them_by_unknown_microphones(
    home: Path,
) -> None:
    """So labels, folds and nodes are where they belong: chance is 1/9."""
    summary = read_summary(home, "none-logistic")
    known, unknown = (
        summary["per_split"][f"eval-{group}"]["recording"]["macro_f1"]
        for group in ("known", "unknown")
    )
    assert summary["mean_over_folds"]["macro_f1"] > 0.6
    assert known > 0.6
    assert unknown < known


def test_the_table_has_a_line_for_each_group_of_microphones(home: Path) -> None:
    lines = (home / "table.txt").read_text().splitlines()[3:]
    assert [re.split(r"\s{2,}", line.strip())[0] for line in lines] == [
        name for run in RUNS for name in (run, "mean over folds", "eval-known", "eval-unknown")
    ]


def test_no_encoder_and_no_classifier_knows_a_session_that_it_is_tested_on(
    home: Path, sources: pd.DataFrame
) -> None:
    session_of = sources.set_index("recording")["session"]
    job = home / "jobs/dcase/inductive"
    for partition in SEGMENTS:
        name = "folds" if partition.startswith("eval") else f"without-{partition}"
        heard = pd.read_parquet(job / "encoders" / name / "export/training_recordings.parquet")
        tested = pd.read_csv(job / "classifiers" / partition / RUNS[-1] / "predictions.csv")
        metrics = json.loads(
            (job / "classifiers" / partition / RUNS[-1] / "metrics.json").read_text()
        )
        fitted = sources[sources["partition"].isin(metrics["train_partitions"])]["recording"]
        test_sessions = set(session_of[tested["recording_id"]])
        assert len(test_sessions) == len(ACTIVITIES)
        assert len(heard) == sum(SEGMENTS[fold] for fold in FOLD_NAMES if fold != partition)
        assert not test_sessions & set(session_of[heard.iloc[:, 0]])
        assert not test_sessions & set(session_of[fitted])


def test_half_of_the_neighbours_are_the_same_instant_at_another_sensor(home: Path) -> None:
    """A frame tells where it is from: each channel has noise of its own."""
    from tests.trainer.corpora import corpus_of
    from trainer.config import TrainConfig
    from trainer.data.features import open_features
    from trainer.data.shards import CorruptRecords, read_strips

    config = load_settings(
        TrainConfig, str(ROOT / "configs/dcase2018_task5.yaml"), ["batch_size=64"], read_text
    )
    features = open_features(str(home / "features/dcase"))
    roles = {"train_partitions": FOLD_NAMES[:3], "validation_partitions": ()}
    corpus = corpus_of(features, **asdict(replace(config, **roles)))
    places = {
        frame.tobytes(): (strip.session_id, strip.sensor_id, strip.first_tile * 200 + number)
        for uri in features.shard_uris(FOLD_NAMES[:3])
        for strip in read_strips(uri, features.info.feature_spec.tile_shape, CorruptRecords(0))
        for number, frame in enumerate(strip.log_mel.reshape(-1, 64))
    }
    kinds, sensors = Counter(), set()
    for batch in corpus.pairs.batches((0, 4), (1, 0, 1), cut=None).as_numpy_iterator():
        for starts in batch["starts"].reshape(-1, 2):
            (session, sensor, frame), other = (
                places[corpus.store.frames[start].tobytes()] for start in starts
            )
            assert other[0] == session
            if other[1] == sensor:
                kinds["time"] += 1
                assert 0 < abs(other[2] - frame) <= 3000
            else:
                kinds["sensor"] += 1
                assert other[2] == frame
                sensors |= {sensor, other[1]}
    assert 0.35 < kinds["sensor"] / kinds.total() < 0.65
    assert len(sensors) == len(KNOWN_NODES) * CHANNELS
