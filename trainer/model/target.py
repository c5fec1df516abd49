"""The target of a loss: encoder and projector as a moving average of those in training.

The average is that of the trained variables. Batch norm of the target divides by the statistics of
the batch, as that of the encoder in training does; its moving statistics are updated by the forward
pass and read by nothing.
"""

from collections.abc import Callable

import keras
import tensorflow as tf
from keras.optimizers.schedules import CosineDecay

from trainer.config import ResolvedConfig

Momentum = Callable[[tf.Tensor], tf.Tensor]
"""Of the number of steps made before; gives the share of the average that a step keeps."""


class Target:
    """A copy of an encoder and a projector that follows them."""

    def __init__(self, encoder: keras.Model, projector: keras.Model, momentum: Momentum) -> None:
        self.encoder, self.projector = (
            keras.models.clone_model(model) for model in (encoder, projector)
        )
        self._followed, self._momentum = (encoder, projector), momentum
        self.reset()

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint keeps of it."""
        return [*self.encoder.variables, *self.projector.variables]

    def reset(self) -> None:
        """Become equal to what it follows."""
        for copy, followed in zip((self.encoder, self.projector), self._followed, strict=True):
            copy.set_weights(followed.get_weights())

    def follow(self, strategy: tf.distribute.Strategy, step: tf.Tensor) -> None:
        """Move on after a step (BYOL, arXiv 2006.07733, eq. 1), on each device by itself.

        No device communicates, since a variable has the same value on all of them.
        """
        change = 1 - self._momentum(step)
        copies = self.encoder.trainable_variables + self.projector.trainable_variables
        followed = [variable for model in self._followed for variable in model.trainable_variables]
        for copy, variable in zip(copies, followed, strict=True):
            arguments = (variable.value, change)
            strategy.extended.update(copy.value, _approach, args=arguments, group=False)


def build_target(config: ResolvedConfig, encoder: keras.Model, projector: keras.Model) -> Target:
    """Build the target of an encoder and a projector, which begins equal to them."""
    return Target(encoder, projector, target_momentum(config))


def target_momentum(config: ResolvedConfig) -> Momentum:
    """Rise from the setting along half a cosine to 1 (BYOL, arXiv 2006.07733, sec. 3.3)."""
    change = CosineDecay(1 - config.target_momentum, config.epochs * config.steps_per_epoch)
    return lambda step: 1 - change(step)


def _approach(copy: tf.Variable, followed: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return copy.assign_sub(share * (copy - followed))
