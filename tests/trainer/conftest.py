from pathlib import Path

import pytest

from tests.trainer.jobs import train_words
from tests.trainer.replica_training import FAST, Results, train_replicas
from tests.trainer.synthetic import write_features
from trainer.data.features import Features, open_features
from trainer.train.__main__ import main


@pytest.fixture(scope="session")
def features_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    songs = {"train": 24, "validation": 9, "test": 12}
    return write_features(tmp_path_factory.mktemp("synthetic") / "features", songs)


@pytest.fixture(scope="session")
def features(features_dir: Path) -> Features:
    return open_features(str(features_dir))


@pytest.fixture(scope="session")
def trained_job(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of 5 epochs and 45 steps; tests may only read it."""
    job = tmp_path_factory.mktemp("trained") / "job"
    assert main(train_words(features_dir, job)) == 0
    return job


@pytest.fixture(scope="session")
def one_replica(features: Features) -> Results:
    """What `tests.trainer.replica_training` gives on one replica, for the settings in `FAST`."""
    return train_replicas(features, 1, FAST)
