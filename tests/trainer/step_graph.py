"""What one step over two replicas consists of, without running it, as JSON.

By precision: the collectives of each replica, and the shape of the matrix that it compares tiles
in. In a process of its own, which has two devices.
Usage: python -m tests.trainer.step_graph FEATURES
"""

import json
import sys
from dataclasses import replace

import tensorflow as tf

from tests.trainer.replica_training import BATCH_SIZE, plain_encoder
from trainer.config import ResolvedConfig
from trainer.data.features import open_features
from trainer.data.pairs import PairSource
from trainer.model.encoders import build_projector
from trainer.model.learner import Learner, pair_objective
from trainer.model.losses import build_loss
from trainer.model.optimizer import build_optimizer, prepare_optimizer
from trainer.train.devices import make_strategy
from trainer.train.input import distribute
from trainer.train.step import make_train_steps

REPLICAS = 2
PRECISIONS = ("float32", "mixed_float16")  # of which the latter scales the loss


def trace(source: PairSource, precision: str, strategy: tf.distribute.Strategy) -> dict[str, list]:
    """Build the graph of AdamW and InfoNCE with a learned similarity, clipped."""
    config = ResolvedConfig(precision=precision, loss="infonce", similarity="bilinear")
    compared = []
    with strategy.scope():
        encoder = plain_encoder(source.features.info.feature_spec.tile_shape)
        projector, loss = build_projector(8, 4), build_loss(config, 4)

        def function(*batch_and_rows):
            parts, opposite = loss.function(*batch_and_rows)
            compared.append(opposite.shape.as_list())
            return parts, opposite

        objective = pair_objective(replace(loss, function=function))
        learner = Learner(encoder, projector, objective, build_optimizer(config))
        prepare_optimizer(learner.optimizer, learner.trainable_variables)
    steps = make_train_steps(strategy, learner, clip_norm=1.0, augment=[], seed=0)
    batches = distribute(strategy, source.batches(seed=0, epoch=0), BATCH_SIZE)
    number = tf.TensorSpec([], tf.int64)
    graph = steps.get_concrete_function(batches, number, number).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    collectives = [node.op for node in nodes if node.op.startswith(("Collective", "Nccl"))]
    return {"collectives": len(collectives) / REPLICAS, "compared": compared}


def main(features_uri: str) -> None:
    strategy = make_strategy(REPLICAS, BATCH_SIZE)
    source = PairSource(
        open_features(features_uri), ["train"], neighbourhood_s=0.5, batch_size=BATCH_SIZE
    )
    print(json.dumps({name: trace(source, name, strategy) for name in PRECISIONS}))


if __name__ == "__main__":
    main(*sys.argv[1:])
