"""Why the loss is not the objective of a search: it depends on the margin."""

from pathlib import Path
from typing import Any

import pytest

from tests.trainer.synthetic import write_features
from trainer.config import TrainConfig
from trainer.train.run import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> dict[float, dict[str, Any]]:
    """Metrics of two runs that differ only in the margin."""
    home = tmp_path_factory.mktemp("margins")
    data = write_features(home / "features", {"train": 24, "validation": 24, "test": 3}, tilt=2.0)
    return {margin: _train(data, home / str(margin), margin) for margin in (0.02, 0.8)}


def _train(data: Path, job: Path, margin: float) -> dict[str, Any]:
    config = TrainConfig(
        encoder="dense",
        encoder_width=0.125,
        embedding_size=16,
        projection_size=8,
        margin=margin,
        batch_size=16,
        epochs=8,
        learning_rate=0.003,
        augment=(),
    )
    return train(str(data), str(job), config, lambda: False)


def test_loss_and_recall_rank_two_margins_differently(metrics: dict[float, dict[str, Any]]) -> None:
    """A triplet loss from which nothing was learned is about equal to the margin."""
    assert metrics[0.02]["loss"] < 0.02 < 0.4 < metrics[0.8]["loss"]
    assert metrics[0.02]["recall_at_1"] + 0.1 < metrics[0.8]["recall_at_1"]
