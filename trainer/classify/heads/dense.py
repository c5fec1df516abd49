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
from trainer.data.vector_table import VectorTable
from trainer.model.files import load_keras, save_keras
from trainer.model.vectors import Float32, represent_all

_UNITS = 256
_LEARNING_RATE = 1e-3
_BATCH_SIZE, _VALIDATION_BATCH_SIZE = 128, 4096
_MAX_EPOCHS, _PATIENCE = 200, 10
_MIN_DELTA = 1e-3  # of the loss; of separable classes it falls for ever, by less and less
_NEVER = -1e9  # a logit whose softmax is exactly 0; its gradient is 0, too
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
            InputError: all training rows have the same label, or no session can be held out.
        """
        if validation is None:
            train, validation = _hold_out(train, label_names)
        require_two_labels(train, label_names)
        heads = [
            cls(_fit(train, validation, len(label_names), dropout, config.seed))
            for dropout in config.dropouts
        ]
        return min(heads, key=lambda head: level(posteriors_of(head, validation)).log_loss)

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


def _hold_out(train: VectorTable, label_names: tuple[str, ...]) -> tuple[VectorTable, VectorTable]:
    splits = session_splits(train)
    if not splits:
        if len(np.unique(train.session_ids)) > 1:
            require_two_labels(train, label_names)
        raise InputError(
            "the training tiles are of one session, or of one session per label, so none can be "
            "held out to stop the head 'dense' early; name validation_partitions, or choose "
            "--head logistic"
        )
    return splits[0]


def _fit(
    train: VectorTable, validation: VectorTable, n_classes: int, dropout: float, seed: int
) -> keras.Model:
    """Train until the loss of `validation` stops falling; keep the best weights."""
    keras.utils.set_random_seed(seed)
    counts = np.bincount(train.labels, minlength=n_classes)
    network = _build(train.vectors, counts > 0, dropout)
    network.compile(keras.optimizers.Adam(_LEARNING_RATE), "sparse_categorical_crossentropy")
    stop = keras.callbacks.EarlyStopping(
        patience=_PATIENCE, min_delta=_MIN_DELTA, restore_best_weights=True
    )
    weights = balanced_weights(counts)
    fitted, held_out = (tf.data.Dataset.range(len(table.labels)) for table in (train, validation))
    fitted = fitted.shuffle(len(train.labels), seed).batch(_BATCH_SIZE)
    held_out = held_out.batch(_VALIDATION_BATCH_SIZE)
    network.fit(
        _batches(train, weights, fitted),
        steps_per_epoch=len(fitted),
        validation_data=_batches(validation, weights, held_out),
        validation_steps=len(held_out),
        epochs=_MAX_EPOCHS,
        callbacks=[stop],
        shuffle=False,  # the dataset shuffles
        verbose=0,
    )
    return network


def _batches(table: VectorTable, class_weights: Float32, rows: tf.data.Dataset) -> tf.data.Dataset:
    """Vectors, labels and weights of batches of rows; Keras takes ten times as long to make them.

    Endless, so that Keras does not start four iterators an epoch, 7 ms each.
    """
    columns = (table.vectors, table.labels, class_weights[table.labels])
    tensors = tuple(map(tf.convert_to_tensor, columns))
    return rows.repeat().map(lambda chosen: tuple(tf.gather(t, chosen) for t in tensors))


def _build(vectors: Float32, seen: npt.NDArray[np.bool_], dropout: float) -> keras.Model:
    """Build the network; classes that are not `seen` ``[n_classes]`` have probability 0."""
    scaler = StandardScaler().fit(vectors)  # unlike Keras' adapt it keeps constants as they are
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
