"""That training learns: nearness in time teaches the encoder what to ignore."""

from pathlib import Path

from tests.trainer.synthetic import SPEC, write_features
from trainer.config import TrainConfig
from trainer.data import open_features, retrieval_pool
from trainer.embedding import as_representation, represent_all
from trainer.encoders import build_encoder
from trainer.retrieval import recall_at_1
from trainer.training import train


def test_training_finds_the_song_behind_a_nuisance(tmp_path: Path) -> None:
    """Each tile's spectrum slopes at random, as under a moving microphone; songs have spectra.

    72 tiles of 12 songs, none of which the encoder has seen: chance is 5 / 71 = 0.07.
    """
    songs = {"train": 24, "validation": 12}
    data = str(write_features(tmp_path / "features", songs, tilt=4.0))
    config = TrainConfig(batch_size=16, epochs=15, embedding_size=8, projection_size=4, margin=1.0)
    metrics = train(data, str(tmp_path / "job"), config, terminated=lambda: False)
    features = open_features(data)
    moments = features.info.moments(["train"])
    untrained = as_representation(build_encoder("conv2d", SPEC.tile_shape, 8, moments, seed=0))
    pool = retrieval_pool(features, ["validation"])
    before = recall_at_1(represent_all(untrained, pool.log_mel), pool.contexts)
    assert before < 0.4
    assert metrics["recall_at_1"] > before + 0.1
