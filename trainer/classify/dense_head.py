"""The head ``dense``: two hidden layers on standardised vectors, as in the original study."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.preprocessing import StandardScaler

from dem.errors import InputError
from trainer.classify.posteriors import Posteriors, posteriors_of
from trainer.classify.splits import balanced_weights, require_two_labels, session_splits
from trainer.config import ClassifyConfig
from trainer.model.files import load_keras, save_keras
from trainer.model.vectors import Float32, VectorTable, represent_all

_UNITS = 256
_LEARNING_RATE = 1e-3
_BATCH_SIZE = 128
_MOST_EPOCHS, _PATIENCE = 200, 10
_NEVER = -1e9  # a logit whose softmax is exactly 0; it gets no gradient
_DROPOUT = "second_dropout"  # name of a layer; the first has the same rate


@dataclass(frozen=True)
class DenseHead:
    """A small network ``[batch, size] -> [batch, n_classes]``; see `FittedHead`."""

    network: keras.Model

    @property
    def regularisation(self) -> float:
        """Share of the hidden units that are dropped in training."""
        return float(self.network.get_layer(_DROPOUT).rate)

    @classmethod
    def fit(
        cls,
        train: VectorTable,
        validation: VectorTable | None,
        config: ClassifyConfig,
        label_names: tuple[str, ...],
        level: Callable[[Posteriors], Posteriors],
    ) -> Self:
        """Fit to `train`; the loss of `validation` stops it early.

        Without `validation`, a fifth of the sessions is held out for that.

        Raises:
            InputError: all training rows have the same label, or all are of one session, so that
                nothing can be held out.
        """
        if validation is None:
            train, validation = _hold_out(train)
        require_two_labels(train)
        heads = [
            cls(_fit(train, validation, len(label_names), dropout, config.seed))
            for dropout in config.dropouts
        ]
        return max(heads, key=lambda head: level(posteriors_of(head, validation)).macro_f1)

    @classmethod
    def load(cls, stem: str) -> Self:
        """Load ``<stem>.keras``."""
        return cls(load_keras(f"{stem}.keras"))

    def predict_proba(self, vectors: Float32) -> npt.NDArray[np.floating]:
        """Class probabilities ``[n, n_classes]``."""
        return represent_all(lambda rows: self.network(rows, training=False).numpy(), vectors)

    def save(self, stem: str) -> None:
        """Write ``<stem>.keras``."""
        save_keras(self.network, f"{stem}.keras")


def _hold_out(train: VectorTable) -> tuple[VectorTable, VectorTable]:
    splits = session_splits(train)
    if not splits:
        raise InputError(
            "the training tiles are of one session, so none can be held out to stop the head "
            "'dense' early; name validation_partitions, or choose --head logistic"
        )
    return splits[0]


def _fit(
    train: VectorTable, validation: VectorTable, n_classes: int, dropout: float, seed: int
) -> keras.Model:
    """Train until the loss of `validation` has not fallen for some epochs; keep the best weights.

    Keras' own loop takes 0.1 s per epoch, however few rows there are; this one a few ms.
    """
    keras.utils.set_random_seed(seed)
    counts = np.bincount(train.labels, minlength=n_classes)
    network = _build(train.vectors, counts > 0, dropout)
    weights = balanced_weights(counts)
    make_epoch = _epoch_function(network, _tensors(train, weights), _tensors(validation, weights))
    rng = np.random.default_rng(seed)
    least, best, best_weights = np.inf, 0, network.get_weights()
    for epoch in range(_MOST_EPOCHS):
        loss = float(make_epoch(tf.constant(rng.permutation(len(train.labels)))))
        if loss < least:
            least, best, best_weights = loss, epoch, network.get_weights()
        elif epoch - best >= _PATIENCE:
            break
    network.set_weights(best_weights)
    return network


def _epoch_function(
    network: keras.Model, train: tuple[tf.Tensor, ...], validation: tuple[tf.Tensor, ...]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Build a function that trains on rows in an order ``[n]`` and gives the validation loss."""
    optimizer = keras.optimizers.Adam(_LEARNING_RATE)
    variables = network.trainable_variables
    optimizer.build(variables)

    def loss_of(
        vectors: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor, *, training: bool
    ) -> tf.Tensor:
        probabilities = network(vectors, training=training)
        losses = keras.losses.sparse_categorical_crossentropy(labels, probabilities)
        return tf.reduce_mean(weights * losses)

    @tf.function  # type: ignore[untyped-decorator]
    def make_epoch(order: tf.Tensor) -> tf.Tensor:
        for first in tf.range(0, tf.size(order), _BATCH_SIZE):
            batch = [tf.gather(rows, order[first : first + _BATCH_SIZE]) for rows in train]
            with tf.GradientTape() as tape:
                loss = loss_of(*batch, training=True)
            optimizer.apply(tape.gradient(loss, variables), variables)
        return loss_of(*validation, training=False)

    return make_epoch  # type: ignore[no-any-return]


def _tensors(rows: VectorTable, weights: Float32) -> tuple[tf.Tensor, ...]:
    """Vectors ``[n, size]``, labels ``[n]`` and weights ``[n]``, where the network is."""
    columns = (rows.vectors, rows.labels, weights[rows.labels])
    return tuple(map(tf.convert_to_tensor, columns))


def _build(vectors: Float32, seen: npt.NDArray[np.bool_], dropout: float) -> keras.Model:
    """Build the network; classes that are not `seen` ``[n_classes]`` have probability 0."""
    scaler = StandardScaler().fit(vectors)  # unlike Keras' adapt it leaves constants alone
    inputs = keras.Input((vectors.shape[1],), name="vector")
    variance = np.square(scaler.scale_)
    x = keras.layers.Normalization(mean=scaler.mean_.tolist(), variance=variance.tolist())(inputs)
    for name in ("first_dropout", _DROPOUT):
        x = keras.layers.Dense(_UNITS, activation="relu", kernel_initializer="he_normal")(x)
        x = keras.layers.Dropout(dropout, name=name)(x)
    output = keras.layers.Dense(len(seen), activation="softmax", name="posteriors")
    network = keras.Model(inputs, output(x), name="dense_head")
    output.bias.assign(np.where(seen, 0, _NEVER))
    return network
