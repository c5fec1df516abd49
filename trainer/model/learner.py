"""What training changes: an encoder, the layers behind it, the objective's, and an optimizer."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import tensorflow as tf

from beam_features.schema.dataset_info import Moments
from trainer.config import ResolvedConfig
from trainer.model.encoders import build_encoder, build_projector
from trainer.model.losses import OPPOSITE_COUNTS, Loss, Parts, build_loss, count_false_opposites
from trainer.model.optimizer import build_optimizer, prepare_optimizer
from trainer.model.precision import computing_in

ObjectiveFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, slice], Parts]
"""Of projections of anchors and of neighbours ``[batch, size]``, sessions ``[batch]``, labels
``[batch, 2]``, a seed ``[2]`` and the rows to compute; gives their parts of scalars, ``loss`` among
them."""


@dataclass(frozen=True)
class Objective:
    """What training minimises: a function, the names of its scalars, and the layers it learns."""

    function: ObjectiveFunction
    scalars: tuple[str, ...]
    layers: tuple[keras.Layer, ...] = ()


@dataclass(frozen=True)
class Learner:
    """The parts of a model in training; `encoder` is what is exported."""

    encoder: keras.Model
    projector: keras.Model
    objective: Objective
    optimizer: keras.optimizers.Optimizer

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Everything that the optimizer changes."""
        models = (self.encoder, self.projector, *self.objective.layers)
        return [variable for model in models for variable in model.trainable_variables]

    def variables_not_finite(self) -> list[str]:
        """Paths of the variables, those of the optimizer included, that hold NaN or infinity."""
        return [
            variable.path
            for variable in self.state.values()
            if variable.dtype.startswith(("float", "bfloat"))
            and not bool(tf.reduce_all(tf.math.is_finite(variable.value)))
        ]

    @property
    def state(self) -> dict[str, keras.Variable]:
        """What a checkpoint keeps, by part and position: Keras' names differ between builds."""
        parts = {
            "encoder": self.encoder.variables,
            "projector": self.projector.variables,
            "loss": [variable for layer in self.objective.layers for variable in layer.variables],
            "optimizer": self.optimizer.variables,
        }
        return {
            f"{part}/{position}": variable
            for part, variables in parts.items()
            for position, variable in enumerate(variables)
        }


def build_learner(
    config: ResolvedConfig,
    tile_shape: tuple[int, int],
    moments: Moments,
    build_head: Callable[[ResolvedConfig, int], tuple[keras.Model, Objective]] | None = None,
) -> Learner:
    """Build an untrained learner; call it in the scope of the strategy that trains it.

    Args:
        config: the settings.
        tile_shape: ``(tile_frames, n_mels)``.
        moments: of the training partitions.
        build_head: builds the layers behind the embedding and the objective, from the settings and
            the size of the embedding; None: `pair_head`.

    Raises:
        InputError: see `trainer.model.encoders.build_encoder`.
    """
    with computing_in(config.precision):
        encoder = build_encoder(
            config.architecture, tile_shape, config.embedding_size, moments, config.seed
        )
    head = (build_head or pair_head)(config, encoder.output_shape[-1])
    learner = Learner(encoder, *head, build_optimizer(config))
    prepare_optimizer(learner.optimizer, learner.trainable_variables)
    return learner


def pair_head(config: ResolvedConfig, embedding_size: int) -> tuple[keras.Model, Objective]:
    """Build the projector and the loss of pairs, which uses no labels."""
    projector = build_projector(embedding_size, config.projection_size, config.projection_hidden)
    return projector, pair_objective(build_loss(config, projector.output_shape[-1]))


def pair_objective(loss: Loss) -> Objective:
    """Minimise a loss of pairs; labels serve only to count false opposites."""

    def function(
        anchors: tf.Tensor,
        neighbours: tf.Tensor,
        sessions: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor,
        rows: slice,
    ) -> Parts:
        parts, opposite = loss.function(anchors, neighbours, sessions, seed, rows)
        return parts | count_false_opposites(opposite, labels, rows)

    return Objective(function, (*loss.scalars, *OPPOSITE_COUNTS), loss.layers)
