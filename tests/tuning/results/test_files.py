"""The files of a search, from synthetic outcomes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml

from dem.errors import JobError
from tests.tuning.searches import FIXED
from trainer.data.features import open_features
from tuning.config import TuneConfig
from tuning.results.files import Results
from tuning.results.plot import trials_png
from tuning.search.messages import Outcome, Worker
from tuning.search.oracle import build_oracle
from tuning.search.state import Search
from tuning.space import read_space

ANNA = Worker("anna", "1")
SPACE: dict[str, Any] = FIXED | {
    "encoder": {"choices": ["dense", "conv2d"]},
    "encoder_width": 1.0,
    "encoder_depth": {"low": 3, "high": 5, "when": {"encoder": ["conv2d"]}},
    "embedding_size": {"choices": [None, 8]},
    "augment": {"choices": [[], ["gain", "mix"]]},
    "margin": {"low": 0.1, "high": 1.0, "scale": "log"},
}


@pytest.fixture
def run_all(features_dir: Path, tmp_path: Path):
    """Run a search with these outcomes; return its results."""

    def build(*outcomes: Outcome) -> Results:
        config = TuneConfig(trials=len(outcomes) + 1, algorithm="random", space=SPACE)
        space = read_space(config.space)
        search = Search(config, space, build_oracle(config, space), str(tmp_path), {})
        for outcome in outcomes:
            search.end(ANNA, search.ask(ANNA).trial_id, outcome)
        search.ask(ANNA)  # runs still
        return Results(str(tmp_path), config, space, search, open_features(str(features_dir)))

    return build


OUTCOMES = (
    Outcome("completed", 0.5, 2, 10.0, worker="anna"),
    Outcome("failed", reason="the embedding has collapsed: rank 1", worker="anna"),
    Outcome("stopped", 0.7, 1, 5.0, reason="below the median", worker="bert"),
    Outcome("completed", 0.625, 2, 10.0, worker="bert"),
    *[Outcome("completed", 0.25, 2, 10.0, worker="bert")] * 6,
)


def test_the_table_tells_all_of_each_trial(run_all, tmp_path: Path) -> None:
    run_all(*OUTCOMES).finish()
    text = (tmp_path / "trials.csv").read_text()
    assert text.splitlines()[0] == (
        "trial,status,recall_at_1,encoder,embedding_size,margin,augment,encoder_depth,"
        "epochs_run,seconds,worker,reason"
    )
    trials = pd.read_csv(tmp_path / "trials.csv", dtype=str, na_filter=False).set_index("trial")
    assert list(trials["status"])[:4] == ["completed", "failed", "stopped", "completed"]
    assert trials["status"].iloc[-1] == "running"
    assert list(trials["recall_at_1"])[:4] == ["0.5", "", "0.7", "0.625"]
    assert trials["reason"].iloc[1] == "the embedding has collapsed: rank 1"
    assert set(trials["embedding_size"]) == {"null", "8"}
    assert set(trials["augment"]) == {"[]", "[gain, mix]"}
    depths = trials["encoder_depth"]
    assert set(depths[trials["encoder"] == "conv2d"]) <= {"3", "4", "5"}
    assert set(depths[trials["encoder"] == "dense"]) == {""}


def test_a_stopped_trial_is_never_the_best(run_all, tmp_path: Path) -> None:
    results = run_all(*OUTCOMES)
    assert results.best() == "03"
    results.finish()
    assert (
        (tmp_path / "best_config.yaml")
        .read_text()
        .startswith("# Trial 03 of a search: recall_at_1 0.6250\n")
    )
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == {
        "objective": "recall_at_1",
        "best_trial": "03",
        "best_value": 0.625,
        "trials": 11,
        "completed": 8,
        "stopped": 1,
        "failed": 1,
    }


def test_best_settings_are_resolved_for_the_data(run_all, tmp_path: Path, features_dir) -> None:
    run_all(*OUTCOMES).write()
    best = yaml.safe_load((tmp_path / "best_config.yaml").read_text())
    info = open_features(str(features_dir)).info
    assert best["fingerprint"] == info.fingerprint
    assert best["steps_per_epoch"] == 24 * 6 // 16
    assert best["train_partitions"] == ["train"]


def test_the_summary_shows_the_best_ten_and_only_what_differs(run_all) -> None:
    summary = run_all(*OUTCOMES).summary().splitlines()
    assert summary[0].split() == [
        *("trial", "status", "recall_at_1", "encoder", "embedding_size", "margin", "augment"),
        "encoder_depth",
    ]
    assert [line.split()[0] for line in summary[1:4]] == ["02", "03", "00"]
    assert summary[11] == "… and 1 more"
    assert "None" not in "".join(summary[:11])


def test_no_completed_trial_is_an_error_with_the_last_reason(run_all, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="none of 3 trials completed; the last one: rank 1;"):
        run_all(OUTCOMES[2], Outcome("failed", reason="rank 1")).finish()
    assert not (tmp_path / "metrics.json").exists()


def test_the_picture_has_a_panel_per_key(run_all) -> None:
    """Two rows of three panels, the last of which is empty; the best trial has its own colour."""
    results = run_all(*OUTCOMES)
    domains = list(read_space(SPACE).searched.items())
    picture = tf.io.decode_png(trials_png(results.table(), "recall_at_1", domains, "03")).numpy()
    assert picture.shape[:2] == (960, 1890)
    empty = picture[545:, 1330:, :3]
    assert (empty == 255).all()
    best = np.abs(picture[..., :3].astype(int) - [2, 158, 115]).sum(axis=-1) < 30
    assert best.sum() > 300
