"""What training changes: an encoder, the layers behind it that only the loss sees, an optimizer."""

from dataclasses import dataclass
from typing import Any

import keras

from beam_features.schema.dataset_info import Moments
from trainer.config import ResolvedConfig
from trainer.model.encoders import build_encoder, build_projector
from trainer.model.losses import Loss, build_loss
from trainer.model.optimizer import build_optimizer
from trainer.model.precision import computing_in


@dataclass(frozen=True)
class Learner:
    """The parts of a model in training; `encoder` is what is exported."""

    encoder: keras.Model
    projector: keras.Model
    loss: Loss
    optimizer: keras.optimizers.Optimizer

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """Everything that the optimizer changes."""
        return trainable_variables(self.encoder, self.projector, self.loss)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, by name."""
        return {
            "encoder": self.encoder,
            "projector": self.projector,
            "loss": list(self.loss.layers),
            "optimizer": self.optimizer,
        }


def build_learner(config: ResolvedConfig, tile_shape: tuple[int, int], moments: Moments) -> Learner:
    """Build an untrained learner, in the scope of the strategy that is to train it.

    Args:
        config: the settings.
        tile_shape: ``(tile_frames, n_mels)``.
        moments: of the training partitions.

    Raises:
        InputError: see `trainer.model.encoders.build_encoder`.
    """
    with computing_in(config.precision):
        encoder = build_encoder(
            config.architecture, tile_shape, config.embedding_size, moments, config.seed
        )
    projector = build_projector(
        encoder.output_shape[-1], config.projection_size, config.projection_hidden
    )
    loss = build_loss(config, projector.output_shape[-1])
    optimizer = build_optimizer(config, trainable_variables(encoder, projector, loss))
    return Learner(encoder, projector, loss, optimizer)


def trainable_variables(
    encoder: keras.Model, projector: keras.Model, loss: Loss
) -> list[keras.Variable]:
    """List the variables that a loss has gradients for."""
    models = (encoder, projector, loss)
    return [variable for model in models for variable in model.trainable_variables]
