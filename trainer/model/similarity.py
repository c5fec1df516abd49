"""What InfoNCE calls similar: functions from rows ``[n, size]``, ``[m, size]`` to ``[n, m]``."""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from trainer.config import TrainConfig

Similarity = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]

_INITIAL_STD = 0.05  # of the bilinear weight, as in COLA's published code
_EPSILON = 1e-6  # far below the variance within a row of length one, 1 / size


def build_cosine(config: TrainConfig, _size: int) -> Similarity:
    """Build `cosine_similarity` with the settings' temperature."""
    return functools.partial(cosine_similarity, temperature=config.temperature)


def build_bilinear(config: TrainConfig, size: int) -> Similarity:
    """Build a `BilinearSimilarity` of vectors of `size`."""
    similarity: Similarity = BilinearSimilarity(size, config.seed)
    return similarity


def cosine_similarity(left: tf.Tensor, right: tf.Tensor, *, temperature: float) -> tf.Tensor:
    """Cosine of rows of length one, over the temperature (NT-Xent, arXiv 2002.05709, eq. 1)."""
    return tf.matmul(left, right, transpose_b=True) / temperature


class BilinearSimilarity(keras.layers.Layer):  # type: ignore[misc]
    """COLA's ``left W right`` with a learned matrix (arXiv 2010.10915, sec. 2), not symmetric.

    Rows pass layer normalisation and tanh first, and there is no temperature, as in the authors'
    code (google-research/cola). Layer normalisation undoes the length of a row, so rows of length
    one give what COLA's unnormalised ones would.
    """

    def __init__(self, size: int, seed: int, dtype: str = "float32") -> None:
        super().__init__(dtype=dtype, name="bilinear_similarity")
        self._norm = keras.layers.LayerNormalization(epsilon=_EPSILON, dtype=dtype)
        self._norm.build((None, size))
        self.weight = self.add_weight(
            shape=(size, size),
            initializer=keras.initializers.RandomNormal(stddev=_INITIAL_STD, seed=seed),
            name="weight",
        )
        self.built = True

    def call(self, left: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
        left, right = (keras.ops.tanh(self._norm(rows)) for rows in (left, right))
        projected = keras.ops.matmul(left, self.weight)  # [n, size]
        return tf.matmul(projected, right, transpose_b=True)
