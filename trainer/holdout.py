"""What a classifier's regularisation is chosen on."""

import numpy as np
from sklearn.model_selection import GroupKFold

from beam_features.schema.errors import InputError
from trainer.embedding import VectorTable

_FOLDS = 5


def labelled(rows: VectorTable) -> VectorTable:
    """Leave out the rows without a label."""
    return rows.select(rows.labels >= 0)


def require_two_labels(train: VectorTable) -> None:
    """Raise an InputError where there is nothing to tell apart."""
    if len(np.unique(train.labels)) < 2:
        raise InputError(
            "the training tiles have one label, and a classifier needs two; choose other "
            "train_partitions"
        )


def session_splits(rows: VectorTable) -> list[tuple[VectorTable, VectorTable]]:
    """Split into parts to fit on and to measure on that share no session; none of one session."""
    n_splits = min(_FOLDS, len(np.unique(rows.session_ids)))
    if n_splits < 2:
        return []
    numbers = np.arange(len(rows.labels))
    folds = GroupKFold(n_splits).split(numbers, groups=rows.session_ids)
    return [(rows.select(fitted), rows.select(measured)) for fitted, measured in folds]
