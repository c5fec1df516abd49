import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.processes import run
from tests.trainer.corpora import corpus_of
from tests.trainer.replica_training import CLIP_NORM, CONV2D, FAST, SETTINGS, Results
from trainer.config import ResolvedConfig
from trainer.data.features import Features
from trainer.model.learner import Learner, build_learner
from trainer.model.target import Target, target_momentum
from trainer.train.input import frames_on_devices, open_input
from trainer.train.step import make_train_steps


def train(features_dir: Path, replicas: int, output: Path, names: Iterable[str]) -> Results:
    """Run `tests.trainer.replica_training` in a process of its own."""
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
    for name in one.keys() - CONV2D.keys():
        assert one[name]["moved"] > 0.003, name
        assert "clipped" not in name or one[name]["gradient_norm"] > CLIP_NORM, name
        for what, value in one[name].items():
            np.testing.assert_allclose(
                many[name][what], value, rtol=2e-6, atol=2e-6, err_msg=f"{name}: {what}"
            )


@pytest.fixture(scope="module")
def two_replicas(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return train(features_dir, 2, tmp_path_factory.mktemp("replicas") / "two.npz", FAST)


def test_two_replicas_give_the_scalars_and_the_weights_of_one(
    one_replica: Results, two_replicas: Results
) -> None:
    assert_equal(one_replica, two_replicas)


def test_replicas_share_the_statistics_of_batch_norm(
    one_replica: Results, two_replicas: Results
) -> None:
    assert_near(one_replica["conv2d"], two_replicas["conv2d"])


def assert_near(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    """Weights, and the moving mean and variance, are those of one replica up to rounding.

    Rounding decides between near-equal values of max pooling, and three large steps amplify it:
    measured 0.002 at most, 0.00003 on average. Statistics of each replica alone: 1.3 and 0.007.
    """
    weights = [name for name in one if name.startswith("after")]
    apart = np.concatenate([np.abs(two[name] - one[name]).ravel() for name in weights])
    assert apart.max() < 0.02
    assert apart.mean() < 2e-4


def test_replicas_share_the_loss_out_and_communicate_five_times(features_dir: Path) -> None:
    """Each compares the 2 · 8 tiles of its pairs with the 32 of the batch.

    The five: sessions and labels, projections, parts of the scalars, gradients by projections, and
    gradients by variables. Were Keras to sum the latter as well, there would be six.
    """
    finished = run("tests.trainer.step_graph", features_dir)
    assert finished.returncode == 0, finished.stderr
    for precision, step in json.loads(finished.stdout).items():
        assert step == {"collectives": 5, "compared": [[16, 32]] * 2}, precision


@pytest.mark.slow
def test_every_loss_gives_the_same_on_one_two_and_four_replicas(
    features_dir: Path, tmp_path: Path
) -> None:
    one, *others = (train(features_dir, n, tmp_path / f"{n}.npz", SETTINGS) for n in (1, 2, 4))
    for many in others:
        assert_equal(one, many)
        for name in CONV2D:
            assert_near(one[name], many[name])


def test_a_loss_sees_the_target_which_follows_after_each_step(features: Features) -> None:
    """A target of zeros is at right angles to every prediction: 2 in both directions."""
    config = ResolvedConfig(
        encoder="dense", encoder_width=0.05, encoder_depth=1, batch_size=16, loss="byol",
        target_momentum=0.5, epochs=1, steps_per_epoch=3,
    )  # fmt: skip
    corpus, strategy = corpus_of(features, batch_size=16), tf.distribute.OneDeviceStrategy("CPU:0")
    tile_shape, moments = features.info.feature_spec.tile_shape, features.info.moments(["train"])
    learner = build_learner(config, tile_shape, moments)
    project = learner.target.projector.get_layer("project")
    project.set_weights([np.zeros_like(weights) for weights in project.get_weights()])
    steps = make_train_steps(strategy, learner, clip_norm=None, augment=[], seed=0)
    source, one = open_input(strategy, corpus.store, corpus.pairs, (0, 3)), tf.constant(1, tf.int64)

    def trained(models: Learner | Target) -> list[np.ndarray]:
        variables = models.encoder.trainable_variables + models.projector.trainable_variables
        return [variable.numpy() for variable in variables]

    losses = []
    for number in range(3):
        before, step = trained(learner.target), tf.constant(number, tf.int64)
        losses.append(float(steps(source.batches, source.frames, step, one)[0]["loss"]))
        kept = float(target_momentum(config)(step))
        rows = zip(trained(learner.target), before, trained(learner), strict=True)
        for after, old, online in rows:
            np.testing.assert_allclose(after, kept * old + (1 - kept) * online, atol=1e-6)
    assert losses[0] == pytest.approx(4)
    assert abs(losses[1] - 4) > 0.01


def test_the_time_that_is_waited_for_batches_is_counted(features: Features) -> None:
    """No batch is made ahead, and each takes a computation that is timed alone before."""
    config = ResolvedConfig(encoder="dense", encoder_width=0.05, encoder_depth=1, batch_size=16)
    corpus, strategy = corpus_of(features, batch_size=16), tf.distribute.OneDeviceStrategy("CPU:0")
    tile_shape, moments = features.info.feature_spec.tile_shape, features.info.moments(["train"])
    learner = build_learner(config, tile_shape, moments)
    steps = make_train_steps(strategy, learner, clip_norm=None, augment=[], seed=0)

    def slow(number: tf.Tensor) -> dict[str, tf.Tensor]:
        seed = tf.stack([number, number])
        matrix = tf.random.stateless_normal([400, 400], seed, dtype=tf.float64)
        exact_zero = tf.cast(0 * tf.linalg.svd(matrix, compute_uv=False)[0], tf.int64)
        return corpus.pairs.pairs(number * 16 + exact_zero + tf.range(16, dtype=tf.int64))

    batches = iter(tf.data.Dataset.range(9).map(slow))
    frames = frames_on_devices(strategy, corpus.store)
    zero, four = tf.constant(0, tf.int64), tf.constant(4, tf.int64)
    steps(batches, frames, zero, zero)  # traces
    next(batches)
    begin = time.monotonic()
    for _ in range(3):
        next(batches)
    alone_s = (time.monotonic() - begin) / 3
    begin = time.monotonic()
    _, waited = steps(batches, frames, zero, four)
    assert alone_s < float(waited) <= time.monotonic() - begin
