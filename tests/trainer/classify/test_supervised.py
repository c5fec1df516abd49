"""That labels teach the encoder what nearness in time does not, and how they are read."""

import logging
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.strip import NO_LABEL
from dem.errors import InputError, Terminated
from tests.trainer.synthetic import SPEC, relabel, write_features
from tests.trainer.vectors import tile_table
from trainer.classify.supervised import label_loss, train_supervised
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.features import Features, open_features
from trainer.data.vector_table import recording_table
from trainer.metrics.neighbours import knn_labels
from trainer.model.encoders import build_encoder
from trainer.model.vectors import as_representation
from trainer.runtime.job_dir import read_job_config
from trainer.train.resolve import resolve_config

CONFIG = TrainConfig(
    encoder="dense",
    encoder_width=0.125,
    batch_size=16,
    epochs=4,
    embedding_size=8,
    learning_rate=3e-3,
    clip_norm=5.0,
)


def accuracy(encoder: keras.Model, features: Features) -> float:
    """Share of test recordings that their nearest training recordings give the right label."""
    represent = as_representation(encoder)
    train = tile_table(features, ["train"], represent)
    train = recording_table(train.select(train.labels >= 0))
    test = recording_table(tile_table(features, ["test"], represent))
    nearest = knn_labels(train.vectors, train.labels, test.vectors)
    return float(np.mean(nearest == test.labels))


def supervised(features: Features, job: ResolvedConfig, home: Path) -> keras.Model:
    return train_supervised(features, ["train"], job, str(home), terminated=lambda: False)


def test_labels_teach_what_tells_labels_apart_and_a_stopped_training_resumes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Tiles slope at random by more than labels differ.

    Stopped after the first of four epochs and started again, the training ends with the weights of
    one that was not; once finished, it is not repeated.
    """
    caplog.set_level(logging.INFO, logger="trainer")
    songs = {"train": 18, "test": 30}
    features = open_features(str(write_features(tmp_path / "features", songs, tilt=8.0)))
    job = resolve_config(replace(CONFIG, encoder="conv1d", encoder_width=0.25), features)
    moments = features.info.moments(["train"])
    untrained = build_encoder(job.architecture, SPEC.tile_shape, 8, moments, seed=0)
    trained = supervised(features, job, tmp_path / "home")
    assert accuracy(trained, features) > accuracy(untrained, features) + 0.1

    home = tmp_path / "stopped"
    with pytest.raises(Terminated, match=r"state saved at step \d+ of 24") as stopped:
        train_supervised(features, ["train"], job, str(home), lambda: any(home.rglob("ckpt-*")))
    step = str(stopped.value).partition("at ")[2]
    assert 6 <= int(step.split()[1]) < 24
    caplog.clear()
    resumed = supervised(features, job, home)
    assert f"resuming from {step}" in caplog.messages
    assert caplog.messages[-1].startswith("supervised epoch 4/4  loss ")
    finished = supervised(features, job, home)
    for one, *others in zip(*(m.get_weights() for m in (trained, resumed, finished)), strict=True):
        for other in others:
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_other_labels_have_checkpoints_of_their_own(tmp_path: Path, features: Features) -> None:
    job = resolve_config(replace(CONFIG, epochs=1, steps_per_epoch=1), features)
    for partitions in (["train"], ["train", "validation"], ["train"]):
        train_supervised(features, partitions, job, str(tmp_path), lambda: False)
    trained_on = [read_job_config(str(path)).train_partitions for path in tmp_path.iterdir()]
    assert sorted(trained_on) == [("train",), ("train", "validation")]


def test_the_loss_is_the_weighted_cross_entropy_of_labelled_tiles() -> None:
    """Two pairs, and a neighbour without a label: three tiles count, with weights 1, 1 and 3. Each
    pair is computed on its own, as by two replicas."""
    logits = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    labels = np.array([[0, NO_LABEL], [0, 1]])
    own = np.log(np.exp(logits).sum(axis=1)) - logits[range(4), [0, 0, 0, 1]]
    of_pairs = [
        label_loss(
            tf.constant(logits[:2]),
            tf.constant(logits[2:]),
            tf.constant([7, 8]),
            tf.constant(labels),
            tf.constant([0, 0]),
            slice(row, row + 1),
            class_weights=np.array([1, 3], np.float32),
        )["loss"]
        for row in (0, 1)
    ]
    assert [int(part.count) for part in of_pairs] == [1, 2]
    total = sum(float(part.total) for part in of_pairs)
    assert total == pytest.approx(own[0] + own[1] + 3 * own[3])


def test_tiles_without_a_label_are_skipped(tmp_path: Path) -> None:
    """With one of the two shards unlabelled, labels 0 to 2 of the other are still learned."""
    data = write_features(tmp_path / "features", {"train": 30, "test": 30})
    relabel(data / "train-00001-of-00002.tfrecord", -1)
    features = open_features(str(data))
    encoder = supervised(features, resolve_config(CONFIG, features), tmp_path)
    assert accuracy(encoder, features) > 0.8


def test_one_label_is_refused(tmp_path: Path) -> None:
    data = write_features(tmp_path / "features", {"train": 12})
    for shard in data.glob("*.tfrecord"):
        relabel(shard, 1)
    features = open_features(str(data))
    with pytest.raises(InputError, match="fewer than two labels in train_partitions="):
        supervised(features, resolve_config(CONFIG, features), tmp_path)
