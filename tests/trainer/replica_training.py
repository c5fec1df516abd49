"""Three plain SGD steps of many settings on N replicas; scalars and weights go to a file.

In a process of its own, since TensorFlow's collectives do not allow strategies over different
numbers of devices in one.
With TF_CONFIG the replicas are workers.
Usage: python -m tests.trainer.replica_training FEATURES REPLICAS OUTPUT.npz NAME…
"""

import sys
from collections.abc import Iterable
from itertools import product

import keras
import numpy as np
import tensorflow as tf

from trainer.choices import AUGMENTATIONS
from trainer.config import Architecture, TrainConfig
from trainer.data.features import Features, open_features
from trainer.model.encoders import build_encoder, build_projector
from trainer.model.learner import Learner, pair_objective
from trainer.model.losses import build_loss
from trainer.model.optimizer import prepare_optimizer
from trainer.model.target import Target
from trainer.train.corpus import Corpus, open_corpus
from trainer.train.devices import make_strategy
from trainer.train.input import open_input
from trainer.train.resolve import resolve_config
from trainer.train.step import make_train_steps
from trainer.train.tf_config import read_cluster

STEPS = 3
BATCH_SIZE = 16
SIZES = {"embedding_size": 8, "projection_size": 4, "margin": 1.0, "batch_size": BATCH_SIZE}
CLIP_NORM = 0.3  # below the norm of every gradient here

LOSSES = (
    {
        f"{mining}, {reducer}": TrainConfig(mining=mining, reducer=reducer, **SIZES)
        for mining, reducer in product(
            ("random", "all", "semi_hard", "hard"), ("mean", "active_mean")
        )
    }
    | {
        f"infonce {similarity}": TrainConfig(loss="infonce", similarity=similarity, **SIZES)
        for similarity in ("cosine", "bilinear")
    }
    | {
        "vicreg": TrainConfig(
            loss="vicreg", invariance_weight=1, variance_weight=1, covariance_weight=1, **SIZES
        ),
        "byol": TrainConfig(loss="byol", **SIZES),
    }
)
CONV2D = {"conv2d": TrainConfig(**SIZES), "conv2d, byol": TrainConfig(loss="byol", **SIZES)}
SETTINGS = LOSSES | {f"{name}, clipped": config for name, config in LOSSES.items()} | CONV2D
del SETTINGS["byol"]  # its gradient of 8 in steps of 0.1 amplifies rounding to 1e-4; clipped: 2e-6

FAST = (
    "random, mean",
    "semi_hard, active_mean, clipped",
    "infonce bilinear, clipped",
    "vicreg, clipped",
    "byol, clipped",
    "conv2d",
)
Results = dict[str, dict[str, np.ndarray]]


def plain_encoder(tile_shape: tuple[int, int]) -> keras.Model:
    """No batch norm, so that nothing but the loss couples the tiles.

    Log-mel values, around -4, are brought to where tanh is not flat: else tiles would be mapped to
    one point, and rounding would decide which of them is the nearest.
    """
    tiles = keras.Input(tile_shape)
    x = keras.layers.Flatten()(keras.layers.Rescaling(0.2, 0.8)(tiles))
    x = keras.layers.Dense(16, activation="tanh")(x)
    return keras.Model(tiles, keras.layers.Dense(8)(x))


def three_steps(
    name: str, features: Features, corpus: Corpus, strategy: tf.distribute.Strategy
) -> dict[str, np.ndarray]:
    """Mean scalars of the steps, how far the farthest weight moved, and all weights after them."""
    config, info = SETTINGS[name], features.info
    shape, moments = info.feature_spec.tile_shape, info.moments(["train"])
    with strategy.scope():
        keras.utils.set_random_seed(1)
        plain = name not in CONV2D
        encoder = (
            plain_encoder(shape)
            if plain
            else build_encoder(Architecture("conv2d"), shape, 8, moments, 1)
        )
        loss = build_loss(config, 4)
        projector = build_projector(8, 4, unit_length=loss.unit_length)
        optimizer = keras.optimizers.SGD(0.1)
        target = Target(encoder, projector, lambda _: 0.5) if loss.uses_target else None
        learner = Learner(encoder, projector, pair_objective(loss), optimizer, target)
        prepare_optimizer(optimizer, learner.trainable_variables)
    parts = (encoder, projector, *loss.layers, *([target] if target else []))
    variables = [variable for part in parts for variable in part.variables]
    before = [variable.numpy() for variable in variables]
    steps = make_train_steps(
        strategy,
        learner,
        clip_norm=CLIP_NORM if name.endswith("clipped") else None,
        augment=list(AUGMENTATIONS),
        seed=5,
    )
    source = open_input(strategy, corpus.store, corpus.pairs, (0, STEPS))
    zero, n_steps = tf.constant(0, tf.int64), tf.constant(STEPS, tf.int64)
    scalars, _ = steps(source.batches, source.frames, zero, n_steps)
    after = {f"after_{i:03d}": variable.numpy() for i, variable in enumerate(variables)}
    moved = max(np.abs(a - b).max() for a, b in zip(after.values(), before, strict=True))
    return {**{key: value.numpy() for key, value in scalars.items()}, "moved": moved, **after}


def train_replicas(features: Features, replicas: int, names: Iterable[str]) -> Results:
    """By name of the settings: scalars of three SGD steps, and the weights after them."""
    strategy = make_strategy(replicas, BATCH_SIZE)
    config = TrainConfig(neighbourhood_s=0.5, batch_size=BATCH_SIZE, seed=3)
    corpus = open_corpus(features, resolve_config(config, features))
    return {name: three_steps(name, features, corpus, strategy) for name in names}


def main(features_uri: str, replicas: str, output: str, *names: str) -> None:
    results = train_replicas(open_features(features_uri), int(replicas), names)
    if read_cluster().is_chief:
        np.savez(output, **{f"{n}/{key}": v for n, r in results.items() for key, v in r.items()})


if __name__ == "__main__":
    main(*sys.argv[1:])
