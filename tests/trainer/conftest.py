from pathlib import Path

import pytest

from tests.trainer.synthetic import write_features
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.train.run import train


@pytest.fixture(scope="session")
def features_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    songs = {"train": 24, "validation": 9, "test": 12}
    return write_features(tmp_path_factory.mktemp("synthetic") / "features", songs)


@pytest.fixture(scope="session")
def features(features_dir: Path) -> Features:
    return open_features(str(features_dir))


@pytest.fixture(scope="session")
def trained_job(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training on `features_dir`, for all tests: copy it to write into it."""
    job = tmp_path_factory.mktemp("trained") / "job"
    config = TrainConfig(batch_size=16, epochs=2, embedding_size=8, margin=1.0)
    train(str(features_dir), str(job), config, terminated=lambda: False)
    return job
