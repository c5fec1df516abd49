"""What each encoder costs per tile, against conv2d in the same minutes: ``--help`` for options.

``python -m benchmarks.encoders [--encoders NAME …] [--tiles N] [--rounds N]``, on one core.

Each encoder takes turns with conv2d, and what counts is processor time, median over the rounds, so
that other work on the machine hardly matters. A training step is forward, backward and AdamW,
without loss and input.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
if hasattr(os, "sched_setaffinity"):  # before TensorFlow starts its threads
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import keras
import numpy as np
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from beam_features.schema.feature_spec import FeatureSpec
from trainer.choices import ENCODERS
from trainer.config import Architecture
from trainer.model.encoders import build_encoder

TILE_SHAPE = FeatureSpec().tile_shape
EMBEDDING_SIZE = 256
REFERENCE = "conv2d"
Work = Callable[[tf.Tensor], object]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--encoders", nargs="+", choices=list(ENCODERS), default=list(ENCODERS))
    parser.add_argument("--tiles", type=int, default=256, help="in a batch")
    parser.add_argument("--rounds", type=int, default=3)
    known = parser.parse_args(arguments)
    values = np.random.default_rng(0).normal(-6, 2, (known.tiles, *TILE_SHAPE))
    moments, tiles = Moments.of(values), tf.constant(values, tf.float32)
    print(
        f"Python {sys.version.split()[0]}, TensorFlow {tf.__version__}, Keras {keras.__version__}; "
        f"one core, {known.tiles} tiles of {TILE_SHAPE[0]} x {TILE_SHAPE[1]}, "
        f"median of {known.rounds}\n\n"
        "| encoder | parameters | inference | training |\n|---|---|---|---|",
        flush=True,
    )
    reference = work_of(
        build_encoder(Architecture(REFERENCE), TILE_SHAPE, EMBEDDING_SIZE, moments, seed=0)
    )
    of_reference: list[list[float]] = [[], []]
    for name in known.encoders:
        encoder = build_encoder(Architecture(name), TILE_SHAPE, EMBEDDING_SIZE, moments, seed=0)
        costs = []
        for index, (ours, its) in enumerate(zip(work_of(encoder), reference, strict=True)):
            ratios, seconds = compare(ours, its, tiles, known.rounds)
            costs.append(statistics.median(ratios))
            of_reference[index] += seconds
        size = parameters(encoder) / 1e6
        print(f"| `{name}` | {size:.2f} M | {costs[0]:.2f} | {costs[1]:.2f} |", flush=True)
        keras.backend.clear_session()
    inference, training = (
        1e3 * statistics.median(seconds) / known.tiles for seconds in of_reference
    )
    print(f"\n{REFERENCE}: {inference:.1f} ms per tile of inference, {training:.1f} of training")


def parameters(encoder: keras.Model) -> int:
    """Trained numbers before the last layer, which is the same for all."""
    return sum(
        int(np.prod(variable.shape))
        for layer in encoder.layers
        if layer.name != "embed"
        for variable in layer.trainable_variables
    )


def work_of(encoder: keras.Model) -> tuple[Work, Work]:
    """Inference and a training step, compiled."""
    signature = [tf.TensorSpec((None, *TILE_SHAPE), tf.float32)]
    variables = encoder.trainable_variables
    optimizer = keras.optimizers.AdamW(1e-4)
    optimizer.build(variables)

    @tf.function(input_signature=signature)
    def infer(tiles: tf.Tensor) -> tf.Tensor:
        return encoder(tiles, training=False)

    @tf.function(input_signature=signature)
    def train(tiles: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(encoder(tiles, training=True)))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return infer, train


def compare(
    ours: Work, reference: Work, tiles: tf.Tensor, rounds: int
) -> tuple[list[float], list[float]]:
    """Let two take turns; return ours as multiples of the reference, and its seconds."""
    for work in (ours, reference):
        work(tiles[:2])  # compiles
    seconds = [(seconds_of(reference, tiles), seconds_of(ours, tiles)) for _ in range(rounds)]
    return [own / its for its, own in seconds], [its for its, _ in seconds]


def seconds_of(work: Work, tiles: tf.Tensor) -> float:
    """Processor time of one batch, until its result is there."""
    begin = time.process_time()
    np.asarray(work(tiles))
    return time.process_time() - begin


if __name__ == "__main__":
    main()
