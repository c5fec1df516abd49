"""That training learns: nearness in time teaches the encoder what to ignore."""

import logging
from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.strip import NO_LABEL
from dem.errors import JobError, Terminated
from tests.trainer.synthetic import SPEC, relabel, write_features
from trainer.config import TrainConfig
from trainer.data.features import open_features
from trainer.data.tiles import retrieval_pool
from trainer.metrics.candidates import apart_in_time
from trainer.metrics.retrieval import recall_at_1
from trainer.model.encoders import build_encoder
from trainer.model.files import load_keras
from trainer.model.vectors import as_representation, represent_all
from trainer.train.run import train


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Ours; TensorFlow has some of its own where a process traces many graphs."""
    ours = (record for record in caplog.records if record.name.startswith("trainer."))
    return [record.getMessage() for record in ours if record.levelno >= logging.WARNING]


def test_training_finds_the_song_behind_a_nuisance(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each tile's spectrum slopes at random, as under a moving microphone; songs have spectra.

    72 tiles of 12 songs, none of which the encoder has seen: chance is 5 / 71 = 0.07. The encoder
    minds where in the spectrum something is; over three seeds, recall rose from 0.54 to 0.64
    untrained to 0.71 to 0.79, by 0.25 with this seed.
    """
    songs = {"train": 24, "validation": 12}
    data = str(write_features(tmp_path / "features", songs, tilt=4.0))
    config = TrainConfig(
        encoder="dense",
        embedding_size=32,
        projection_size=16,
        margin=0.2,
        batch_size=16,
        epochs=3,
        steps_per_epoch=45,
        seed=2,
    )
    metrics = train(data, str(tmp_path / "job"), config, terminated=lambda: False)
    features = open_features(data)
    moments = features.info.moments(["train"])
    untrained = as_representation(
        build_encoder(
            config.architecture, SPEC.tile_shape, config.embedding_size, moments, config.seed
        )
    )
    pool = retrieval_pool(features, ["validation"])
    apart = apart_in_time(pool.contexts, pool.start_ms, config.retrieval_gap_s)
    before = recall_at_1(represent_all(untrained, pool.log_mel), pool.contexts, apart)
    assert before < 0.6
    assert metrics["recall_at_1"] > before + 0.15
    assert not warnings(caplog)  # of collapse


def test_a_stopped_run_with_a_target_ends_in_the_state_of_one_that_was_not(
    features_dir: Path, tmp_path: Path
) -> None:
    """The momentum depends on the step, and the total is that of the whole run."""
    config = TrainConfig(
        encoder="dense",
        encoder_width=0.05,
        encoder_depth=1,
        embedding_size=8,
        projection_size=4,
        loss="byol",
        target_momentum=0.5,
        batch_size=16,
        epochs=2,
        steps_per_epoch=5,
    )
    stopped, undisturbed = tmp_path / "stopped", tmp_path / "undisturbed"
    epochs: list[int] = []
    with pytest.raises(Terminated, match="state saved at step 5 of 10"):
        train(
            str(features_dir),
            str(stopped),
            config,
            terminated=lambda: bool(epochs),
            on_epoch=lambda epoch, _: epochs.append(epoch),
        )
    for job in (stopped, undisturbed):
        train(str(features_dir), str(job), config, terminated=lambda: False)
    one, other = (newest_state(job) for job in (stopped, undisturbed))
    assert one.keys() == other.keys()
    assert any(name.startswith("target/") for name in one)
    for name in one.keys() - {"names", "progress/seconds", "progress/input_wait_s"}:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5, err_msg=name)


def newest_state(job: Path) -> dict[str, np.ndarray]:
    paths = (job / "checkpoints").glob("ckpt-*.npz")
    with np.load(max(paths, key=lambda path: int(path.stem[5:]))) as arrays:
        return dict(arrays)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"mining": "random", "reducer": "mean"},
        {"mining": "all", "reducer": "mean"},
        {"loss": "infonce", "warmup_steps": 9, "learning_rate_decay": "cosine"},
        {"loss": "infonce", "similarity": "bilinear", "clip_norm": 1.0},
        {"loss": "vicreg"},
        {"loss": "byol"},
        {"loss": "byol", "projection_hidden": 8, "precision": "mixed_bfloat16"},
    ],
    ids=lambda settings: ", ".join(map(str, settings.values())),
)
def test_other_losses_train_without_a_sign_of_collapse(
    features_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict
) -> None:
    config = TrainConfig(
        batch_size=16, epochs=5, embedding_size=8, projection_size=4, margin=1.0, **settings
    )
    metrics = train(str(features_dir), str(tmp_path / "job"), config, terminated=lambda: False)
    assert metrics["steps"] == 45
    assert not warnings(caplog)


@pytest.mark.slow
def test_a_slow_collapse_is_seen_at_the_margin(tmp_path: Path) -> None:
    """Hard mining at the usual learning rate, where a nuisance is louder than the songs differ.

    Distances shrink from epoch to epoch and recall stays that of the untrained encoder.
    """
    data = str(write_features(tmp_path / "features", {"train": 24, "validation": 12}, tilt=4.0))
    config = TrainConfig(
        batch_size=16,
        epochs=15,
        embedding_size=8,
        projection_size=4,
        mining="hard",
        margin=1.0,
    )
    with pytest.raises(JobError, match=r"loss 1\.0\d* is stuck at the margin"):
        train(data, str(tmp_path / "job"), config, terminated=lambda: False)


@pytest.mark.slow
def test_labels_are_counted_and_reach_no_weight(tmp_path: Path) -> None:
    """Three labels in turn: a third of other songs' tiles has the anchor's, as near as drawn.

    With all labels equal, every opposite is false; without, there is no share; the weights stay.
    """
    config = TrainConfig(batch_size=16, epochs=1, embedding_size=8, projection_size=4, mining="all")
    weights, shares = [], []
    for name, labels in (("true", None), ("equal", 1), ("none", NO_LABEL)):
        data = write_features(tmp_path / name, {"train": 24})
        if labels is not None:
            for shard in data.glob("*.tfrecord"):
                relabel(shard, labels)
        metrics = train(str(data), str(tmp_path / f"job {name}"), config, terminated=lambda: False)
        shares.append(metrics["false_opposite_share"])
        encoder = load_keras(str(tmp_path / f"job {name}" / "export" / "encoder.keras"))
        weights.append(encoder.get_weights())
    assert shares[0] == pytest.approx(
        7 / 23, abs=0.03
    )  # 8 of 24 songs have the label, less its own
    assert shares[1:] == [1.0, None]
    for others in weights[1:]:
        for one, other in zip(weights[0], others, strict=True):
            np.testing.assert_array_equal(one, other)
