"""That labels teach the encoder what nearness in time does not, and how they are read."""

from pathlib import Path

import keras
import numpy as np
import pytest

from dem.errors import InputError
from tests.trainer.synthetic import SPEC, relabel, write_features
from tests.trainer.vectors import tile_table
from trainer.classify.supervised import train_supervised
from trainer.config import Architecture, TrainConfig
from trainer.data.features import Features, open_features
from trainer.data.vector_table import recording_table
from trainer.metrics.neighbours import knn_labels
from trainer.model.encoders import build_encoder
from trainer.model.vectors import as_representation
from trainer.train.resolve import resolve_config

CONFIG = TrainConfig(batch_size=16, epochs=4, embedding_size=8, learning_rate=3e-3, clip_norm=5.0)


def accuracy(encoder: keras.Model, features: Features) -> float:
    """Share of test recordings that their nearest training recordings give the right label."""
    represent = as_representation(encoder)
    train = tile_table(features, ["train"], represent)
    train = recording_table(train.select(train.labels >= 0))
    test = recording_table(tile_table(features, ["test"], represent))
    nearest = knn_labels(train.vectors, train.labels, test.vectors)
    return float(np.mean(nearest == test.labels))


def test_labels_teach_what_tells_labels_apart(tmp_path: Path) -> None:
    """Tiles slope at random by more than labels differ."""
    songs = {"train": 30, "test": 30}
    features = open_features(str(write_features(tmp_path / "features", songs, tilt=8.0)))
    job = resolve_config(CONFIG, features)
    moments = features.info.moments(["train"])
    untrained = build_encoder(Architecture("conv2d"), SPEC.tile_shape, 8, moments, seed=0)
    trained = train_supervised(features, ["train"], job)
    assert accuracy(trained, features) > accuracy(untrained, features) + 0.1
    again = train_supervised(features, ["train"], job)
    for one, other in zip(trained.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_tiles_without_a_label_are_skipped(tmp_path: Path) -> None:
    """With one of the two shards unlabelled, labels 0 to 2 of the other are still learned."""
    data = write_features(tmp_path / "features", {"train": 30, "test": 30})
    relabel(data / "train-00001-of-00002.tfrecord", -1)
    features = open_features(str(data))
    encoder = train_supervised(features, ["train"], resolve_config(CONFIG, features))
    assert accuracy(encoder, features) > 0.8


def test_one_label_is_refused(tmp_path: Path) -> None:
    data = write_features(tmp_path / "features", {"train": 12})
    for shard in data.glob("*.tfrecord"):
        relabel(shard, 1)
    features = open_features(str(data))
    with pytest.raises(InputError, match="fewer than two labels in train_partitions="):
        train_supervised(features, ["train"], resolve_config(CONFIG, features))
