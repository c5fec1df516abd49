from pathlib import Path

import pytest

from tests.trainer.synthetic import write_features
from trainer.data.features import Features, open_features


@pytest.fixture(scope="session")
def features_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    songs = {"train": 24, "validation": 9, "test": 12}
    return write_features(tmp_path_factory.mktemp("synthetic") / "features", songs)


@pytest.fixture(scope="session")
def features(features_dir: Path) -> Features:
    return open_features(str(features_dir))
