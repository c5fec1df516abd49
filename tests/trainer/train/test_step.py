from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dem.errors import InputError
from tests.processes import run
from tests.trainer.replica_training import CLIP_NORM, SETTINGS
from trainer.train.step import make_strategy

FAST = (
    "random, mean",
    "semi_hard, active_mean, clipped",
    "infonce cosine",
    "infonce bilinear, clipped",
    "conv2d",
)
Results = dict[str, dict[str, np.ndarray]]


def train(features_dir: Path, replicas: int, output: Path, names: Iterable[str]) -> Results:
    """By name of the settings: scalars of three SGD steps, and the weights after them."""
    words = ("tests.trainer.replica_training", features_dir, replicas, output, *names)
    finished = run(*words, timeout_s=1200)  # of every loss on four replicas: 10 min on busy cores
    assert finished.returncode == 0, finished.stderr
    results: Results = {name: {} for name in names}
    with np.load(output) as saved:
        for key, value in saved.items():
            name, _, what = key.partition("/")
            results[name][what] = value
    return results


def assert_equal(one: Results, many: Results) -> None:
    """One replica and many give the same, up to rounding, and they did something."""
    for name in one.keys() - {"conv2d"}:
        assert one[name]["moved"] > 0.003, name
        assert "clipped" not in name or one[name]["gradient_norm"] > CLIP_NORM, name
        for what, value in one[name].items():
            np.testing.assert_allclose(
                many[name][what], value, rtol=2e-6, atol=2e-6, err_msg=f"{name}: {what}"
            )


@pytest.fixture(scope="module")
def one_and_two(
    features_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Results, Results]:
    outputs = tmp_path_factory.mktemp("replicas")
    one, two = (train(features_dir, n, outputs / f"{n}.npz", FAST) for n in (1, 2))
    return one, two


def test_two_replicas_give_the_scalars_and_the_weights_of_one(
    one_and_two: tuple[Results, Results],
) -> None:
    assert_equal(*one_and_two)


def test_replicas_share_the_statistics_of_batch_norm(one_and_two: tuple[Results, Results]) -> None:
    """Weights, and the moving mean and variance, are those of one replica up to rounding.

    Rounding decides between near-equal values of max pooling, and three large steps amplify it:
    measured 0.002 at most, 0.00003 on average. Statistics of each replica alone: 1.3 and 0.007.
    """
    one, two = (results["conv2d"] for results in one_and_two)
    weights = [name for name in one if name.startswith("after")]
    apart = np.concatenate([np.abs(two[name] - one[name]).ravel() for name in weights])
    assert apart.max() < 0.02
    assert apart.mean() < 2e-4


@pytest.mark.slow
def test_every_loss_gives_the_same_on_one_two_and_four_replicas(
    features_dir: Path, tmp_path: Path
) -> None:
    one, *others = (train(features_dir, n, tmp_path / f"{n}.npz", SETTINGS) for n in (1, 2, 4))
    for many in others:
        assert_equal(one, many)


def test_batch_size_must_be_a_multiple_of_the_replicas() -> None:
    with pytest.raises(InputError, match="batch_size=9 is no multiple of 2 replicas"):
        make_strategy(2, batch_size=9)


def test_too_many_replicas_are_refused() -> None:
    tf.constant(0)  # TensorFlow runs from here on, and its devices stay what they are
    with pytest.raises(InputError, match="replicas=8, but 2 CPU devices are there; lower"):
        make_strategy(8, batch_size=16)
