"""The optimizer: AdamW, its learning rate over the steps, and clipping of the global gradient."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from trainer.config import ResolvedConfig


def build_optimizer(
    config: ResolvedConfig, variables: Sequence[keras.Variable]
) -> keras.optimizers.Optimizer:
    """Build AdamW (arXiv 1711.05101) for `variables`, with the learning rate of the settings.

    Weights decay; biases, and the scales and offsets of normalisation layers, do not (arXiv
    1812.01187, sec. 3.1).
    """
    rate = LearningRate(
        config.learning_rate,
        config.warmup_steps,
        config.epochs * config.steps_per_epoch if config.learning_rate_decay == "cosine" else None,
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if not decays(v)])
    if config.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    optimizer.build(list(variables))
    return optimizer


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay applies; a GRU's bias is a matrix, hence the name."""
    return len(variable.shape) > 1 and variable.name != "bias"


class LearningRate(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """Linear warm-up (arXiv 1706.02677, sec. 2.2), then constant or half a cosine down to 0.

    Step 0 is made at ``peak / warmup_steps``, step `warmup_steps` at the peak; the cosine (arXiv
    1608.03983, eq. 5, one period) reaches 0 with the end of the last step. Keras' own CosineDecay
    makes its first step at a rate of 0 and has no warm-up without decay.
    """

    def __init__(self, peak: float, warmup_steps: int, total_steps: int | None) -> None:
        self._peak, self._warmup_steps, self._total_steps = peak, warmup_steps, total_steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Give the learning rate of a step; the first one has number 0."""
        step = tf.cast(step, tf.float32)
        warm = tf.minimum(1.0, (step + 1.0) / max(self._warmup_steps, 1))
        if self._total_steps is None:
            return self._peak * warm
        decay_steps = max(self._total_steps - self._warmup_steps, 1)
        progress = tf.clip_by_value((step - self._warmup_steps) / decay_steps, 0.0, 1.0)
        return self._peak * warm * 0.5 * (1.0 + tf.cos(math.pi * progress))


def clip_global_norm(
    gradients: Sequence[tf.Tensor], clip_norm: float | None
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Scale all gradients alike so that their global norm is at most `clip_norm`.

    Returns:
        The gradients (arXiv 1211.5063, algorithm 1), and their norm before.
    """
    norm = tf.linalg.global_norm(gradients)
    if clip_norm is None:
        return list(gradients), norm
    return tf.clip_by_global_norm(gradients, clip_norm, use_norm=norm)[0], norm
