"""The optimizer: AdamW, its learning rate over the steps, and clipping of the global gradient."""

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras.optimizers.schedules import CosineDecay, LearningRateSchedule, PolynomialDecay

from trainer.config import ResolvedConfig

_ALL_REDUCE = "_all_reduce_sum_gradients"  # from pairs of a gradient and a variable to such pairs


def build_optimizer(config: ResolvedConfig) -> keras.optimizers.Optimizer:
    """Build AdamW (arXiv 1711.05101) with the learning rate of the settings."""
    optimizer = keras.optimizers.AdamW(learning_rate(config), weight_decay=config.weight_decay)
    if config.precision == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def prepare_optimizer(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]
) -> None:
    """Create the optimizer's variables for those that it is to change.

    Weights decay; biases, and the scales and offsets of normalisation layers, do not (arXiv
    1812.01187, sec. 3.1). From now on it takes gradients that are summed over the replicas.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    inner.exclude_from_weight_decay(var_list=[v for v in variables if not decays(v)])
    optimizer.build(list(variables))
    _take_sums(inner)


def _take_sums(optimizer: keras.optimizers.Optimizer) -> None:
    """Keep the optimizer from summing gradients over replicas: clipping needs their sum before.

    Keras has no public way. Were its method renamed, gradients would be as many times too large as
    there are replicas, hence the check.
    """
    if not hasattr(optimizer, _ALL_REDUCE):
        raise RuntimeError(
            f"{type(optimizer).__name__} of Keras {keras.__version__} has no method {_ALL_REDUCE}"
        )
    setattr(optimizer, _ALL_REDUCE, list)


def decays(variable: keras.Variable) -> bool:
    """Whether weight decay applies; a GRU's bias is a matrix, hence the name."""
    return len(variable.shape) > 1 and variable.name != "bias"


def learning_rate(config: ResolvedConfig) -> LearningRateSchedule:
    """Rise linearly (arXiv 1706.02677, sec. 2.2), then stay, or fall along half a cosine to 0.

    Step 0 has the rate ``peak / warmup_steps``, step ``warmup_steps - 1`` the peak. The cosine
    (arXiv 1608.03983, eq. 5, one period) starts with step `warmup_steps` and reaches 0 at the end
    of the last step. The warm-up of Keras' CosineDecay cannot rise so: it reaches its target only
    at step `warmup_steps`. Here it keeps the peak until then, and the lower rate counts.
    """
    peak, warmup = config.learning_rate, config.warmup_steps
    rise = PolynomialDecay(peak / max(warmup, 1), max(warmup - 1, 1), peak)
    if config.learning_rate_decay == "none":
        return rise
    steps = config.epochs * config.steps_per_epoch - warmup
    fall = CosineDecay(peak, steps, warmup_target=peak, warmup_steps=warmup)
    return _Lower(rise, fall)


class _Lower(LearningRateSchedule):  # type: ignore[misc]
    """The lower of two learning rates."""

    def __init__(self, one: LearningRateSchedule, other: LearningRateSchedule) -> None:
        self._one, self._other = one, other

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return tf.minimum(self._one(step), self._other(step))


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
