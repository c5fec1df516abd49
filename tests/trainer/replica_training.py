"""Three plain SGD steps on N replicas in a process of their own; weights go to a file.

TensorFlow's collectives do not allow strategies over different numbers of devices in one process.
Usage: python -m tests.trainer.replica_training FEATURES REPLICAS MINING ENCODER OUTPUT.npz
"""

import sys

import keras
import numpy as np
import tensorflow as tf

from trainer.data import open_features, pair_batches
from trainer.encoders import build_encoder, build_projector
from trainer.replication import make_strategy, make_train_steps

STEPS = 3


def plain_encoder(tile_shape: tuple[int, int]) -> keras.Model:
    """No batch norm, so that nothing but the loss couples the tiles."""
    tiles = keras.Input(tile_shape)
    x = keras.layers.Flatten()(tiles)
    x = keras.layers.Dense(16, activation="tanh")(x)
    return keras.Model(tiles, keras.layers.Dense(8)(x))


def main(features_uri: str, replicas: str, mining: str, encoder: str, output: str) -> None:
    features = open_features(features_uri)
    strategy = make_strategy(int(replicas), batch_size=16)
    shape, moments = features.info.feature_spec.tile_shape, features.info.moments(["train"])
    with strategy.scope():
        keras.utils.set_random_seed(1)
        plain = encoder == "plain"
        model = plain_encoder(shape) if plain else build_encoder(encoder, shape, 8, moments, 1)
        projector = build_projector(8, 4)
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(model.trainable_variables + projector.trainable_variables)
    variables = model.variables + projector.variables
    before = [variable.numpy() for variable in variables]
    steps = make_train_steps(
        strategy, model, projector, optimizer, margin=1.0, mining=mining, augmented=True, seed=5
    )
    batches = pair_batches(
        features, ["train"], neighbourhood_s=0.5, batch_size=16, seed=3, epoch=0
    ).take(STEPS)
    scalars = steps(iter(strategy.experimental_distribute_dataset(batches)), tf.constant(STEPS))
    after = {f"after_{i:03d}": variable.numpy() for i, variable in enumerate(variables)}
    moved = max(float(np.abs(a - b).max()) for a, b in zip(after.values(), before, strict=True))
    np.savez(output, loss=float(scalars["loss"]), moved=moved, **after)


if __name__ == "__main__":
    main(*sys.argv[1:])
