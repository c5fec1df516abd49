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
from trainer.config import TrainConfig
from trainer.data.features import Features, open_features
from trainer.model.encoders import build_projector
from trainer.model.learner import Learner, pair_objective
from trainer.model.losses import build_loss
from trainer.model.optimizer import build_optimizer, prepare_optimizer
from trainer.train.corpus import Corpus, open_corpus
from trainer.train.devices import make_strategy
from trainer.train.input import open_input
from trainer.train.resolve import resolve_config
from trainer.train.step import make_train_steps

REPLICAS = 2
PRECISIONS = ("float32", "mixed_float16")  # of which the latter scales the loss


def trace(
    precision: str, features: Features, corpus: Corpus, strategy: tf.distribute.Strategy
) -> dict[str, object]:
    """Build the graph of AdamW and InfoNCE with a learned similarity, clipped."""
    config = TrainConfig(precision=precision, loss="infonce", similarity="bilinear")
    config = resolve_config(config, features)
    compared = []
    with strategy.scope():
        encoder = plain_encoder(features.info.feature_spec.tile_shape)
        projector, loss = build_projector(8, 4), build_loss(config, 4)

        def function(*batch_and_rows):
            parts, opposite = loss.function(*batch_and_rows)
            compared.append(opposite.shape.as_list())
            return parts, opposite

        objective = pair_objective(replace(loss, function=function))
        learner = Learner(encoder, projector, objective, build_optimizer(config))
        prepare_optimizer(learner.optimizer, learner.trainable_variables)
    steps = make_train_steps(strategy, learner, clip_norm=1.0, augment=[], seed=0)
    source = open_input(strategy, corpus.store, corpus.pairs, (0, 1))
    number = tf.constant(0, tf.int64)
    traced = steps.get_concrete_function(source.batches, source.frames, number, number)
    graph = traced.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    collectives = [node.op for node in nodes if node.op.startswith(("Collective", "Nccl"))]
    return {"collectives": len(collectives) / REPLICAS, "compared": compared}


def main(features_uri: str) -> None:
    strategy = make_strategy(REPLICAS, BATCH_SIZE)
    features = open_features(features_uri)
    config = TrainConfig(neighbourhood_s=0.5, batch_size=BATCH_SIZE)
    corpus = open_corpus(features, resolve_config(config, features))
    print(json.dumps({name: trace(name, features, corpus, strategy) for name in PRECISIONS}))


if __name__ == "__main__":
    main(*sys.argv[1:])
