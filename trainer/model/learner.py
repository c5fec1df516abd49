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
from trainer.model.target import Target, build_target

ObjectiveFunction = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, slice], Parts]
"""Of vectors of anchors and of neighbours ``[batch, size]``, sessions ``[batch]``, labels
``[batch, 2]``, a seed ``[2]`` and the rows to compute; gives their parts of scalars, ``loss`` among
them."""


@dataclass(frozen=True)
class Objective:
    """What training minimises: a function, the names of its scalars, and the layers it learns.

    See `trainer.model.losses.Loss` for `uses_target`.
    """

    function: ObjectiveFunction
    scalars: tuple[str, ...]
    layers: tuple[keras.Layer, ...] = ()
    uses_target: bool = False


@dataclass(frozen=True)
class Learner:
    """The parts of a model in training; `encoder` is what is exported.

    The optimizer does not change the target: it follows encoder and projector after each step.
    """

    encoder: keras.Model
    projector: keras.Model
    objective: Objective
    optimizer: keras.optimizers.Optimizer
    target: Target | None = None

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
            "target": self.target.variables if self.target else [],
        }
        return {
            f"{part}/{position}": variable
            for part, variables in parts.items()
            for position, variable in enumerate(variables)
        }

    def start_from(self, encoder: keras.Model) -> None:
        """Take over the weights of another encoder of the same architecture."""
        self.encoder.set_weights(encoder.get_weights())
        if self.target:
            self.target.reset()

    def after_step(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> None:
        """Update what changes without a gradient, outside of the replicas."""
        if self.target:
            self.target.follow(strategy, step)


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
    projector, objective = (build_head or pair_head)(config, encoder.output_shape[-1])
    target = build_target(config, encoder, projector) if objective.uses_target else None
    learner = Learner(encoder, projector, objective, build_optimizer(config), target)
    prepare_optimizer(learner.optimizer, learner.trainable_variables)
    return learner


def pair_head(config: ResolvedConfig, embedding_size: int) -> tuple[keras.Model, Objective]:
    """Build the projector and the loss of pairs, which uses no labels."""
    size = config.projection_size
    loss = build_loss(config, size or embedding_size)
    projector = build_projector(
        embedding_size, size, config.projection_hidden, unit_length=loss.unit_length
    )
    return projector, pair_objective(loss)


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

    return Objective(function, (*loss.scalars, *OPPOSITE_COUNTS), loss.layers, loss.uses_target)
