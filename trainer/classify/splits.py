"""Labelled rows of a classifier: checks, splits by session, weights of classes."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import GroupKFold

from dem.errors import InputError
from trainer.data.vector_table import Float32, VectorTable

_FOLDS = 5


def has_two_labels(rows: VectorTable) -> bool:
    """Whether there is something to tell apart."""
    return len(np.unique(rows.labels)) > 1


def require_two_labels(train: VectorTable, label_names: Sequence[str]) -> None:
    """Raise an InputError if all rows have the same label."""
    if not has_two_labels(train):
        raise InputError(
            "the training tiles have one label, and a classifier needs two; choose other "
            f"train_partitions, or add recordings that are not {label_names[train.labels[0]]!r}"
        )


def require_apart(train: VectorTable, test: VectorTable) -> None:
    """Raise an InputError if a recording, by its id, is in both."""
    wanted = set(test.recording_ids.tolist())
    known = sorted(wanted & set(train.recording_ids.tolist()))
    if known:
        raise InputError(
            f"{len(known)} of {len(wanted)} test recordings, such as {known[0]!r}, are in the "
            "train_partitions, too; choose other partitions"
        )


def balanced_weights(counts: npt.NDArray[np.integer]) -> Float32:
    """Weights per class that make classes count equally, and a row 1 on average.

    A class without rows has weight 0.
    """
    n_seen = np.count_nonzero(counts)
    weights = counts.sum() / (n_seen * np.maximum(counts, 1))
    return np.where(counts > 0, weights, 0).astype(np.float32)


def session_splits(rows: VectorTable) -> list[tuple[VectorTable, VectorTable]]:
    """Split into pairs to fit to and to measure on that share no session.

    Pairs of which the first has one label are left out; of a single session there are none.
    """
    n_splits = min(_FOLDS, len(np.unique(rows.session_ids)))
    if n_splits < 2:
        return []
    numbers = np.arange(len(rows.labels))
    folds = GroupKFold(n_splits).split(numbers, groups=rows.session_ids)
    pairs = [(rows.select(fitted), rows.select(measured)) for fitted, measured in folds]
    return [pair for pair in pairs if has_two_labels(pair[0])]
