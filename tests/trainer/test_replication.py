from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.errors import InputError
from tests.processes import run
from trainer.replication import make_strategy


def train(features_dir: Path, replicas: int, mining: str, encoder: str, output: Path) -> dict:
    """Loss of three SGD steps, weights after them, and how far the farthest weight moved."""
    finished = run(
        "tests.trainer.replica_training", features_dir, replicas, mining, encoder, output
    )
    assert finished.returncode == 0, finished.stderr
    with np.load(output) as saved:
        return dict(saved)


@pytest.mark.parametrize(
    ("mining", "replicas"), [("random", 2), ("semi_hard", 2), ("semi_hard", 4)]
)
def test_replicas_give_the_loss_and_the_weights_of_one(
    features_dir: Path, tmp_path: Path, mining: str, replicas: int
) -> None:
    one = train(features_dir, 1, mining, "plain", tmp_path / "one.npz")
    many = train(features_dir, replicas, mining, "plain", tmp_path / "many.npz")
    assert one["loss"] > 0.1
    assert one["moved"] > 0.01  # else the test would hold for steps that do nothing
    for name, value in one.items():
        np.testing.assert_allclose(many[name], value, atol=1e-5, err_msg=name)


def test_replicas_share_the_statistics_of_batch_norm(features_dir: Path, tmp_path: Path) -> None:
    """Weights, and the moving mean and variance, are those of one replica up to rounding.

    Rounding decides between near-equal values of max pooling, and three large steps amplify it:
    measured 0.002 at most, 0.00003 on average. Statistics of each replica alone: 1.3 and 0.007.
    """
    one = train(features_dir, 1, "semi_hard", "conv2d", tmp_path / "one.npz")
    two = train(features_dir, 2, "semi_hard", "conv2d", tmp_path / "two.npz")
    apart = np.concatenate([np.abs(two[name] - value).ravel() for name, value in one.items()])
    assert apart.max() < 0.02
    assert apart.mean() < 2e-4


def test_batch_size_must_be_a_multiple_of_the_replicas() -> None:
    with pytest.raises(InputError, match="batch_size=9 is no multiple of 2 replicas"):
        make_strategy(2, batch_size=9)


def test_several_hosts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each would train alone, and all would write to one job directory."""
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    with pytest.raises(InputError, match="TF_CONFIG names 2 workers, but training runs on one"):
        make_strategy(None, batch_size=16)


def test_too_many_replicas_are_refused() -> None:
    with pytest.raises(InputError, match="replicas=8, but 2 CPU devices are there; lower"):
        make_strategy(8, batch_size=16)
