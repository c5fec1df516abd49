"""The classes of a run: the labels that have recordings, and where some have none."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from trainer.data.vector_table import VectorTable

_MOST_NAMED = 3


def number_classes(
    tables: Sequence[VectorTable], label_names: Sequence[str]
) -> tuple[tuple[str, ...], list[VectorTable]]:
    """Keep the names that some row has, in their order, and number the labels by them.

    A name without recordings, such as one whose recordings are gone, is no class.

    Args:
        tables: labelled rows.
        label_names: what the labels number.
    """
    present = np.unique(np.concatenate([table.labels for table in tables]))
    names = tuple(label_names[label] for label in present)
    return names, [
        replace(table, labels=np.searchsorted(present, table.labels)) for table in tables
    ]


def count_recordings(rows: VectorTable, label_names: Sequence[str]) -> dict[str, int]:
    """Count the recordings of each label; a recording has the label of its first row."""
    _, first = np.unique(rows.recording_ids, return_index=True)
    counts = np.bincount(rows.labels[first], minlength=len(label_names))
    return dict(zip(label_names, counts.tolist(), strict=True))


def unseen_labels(train: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Recordings in `other` of each label that no recording in `train` has."""
    return {name: n for name, n in other.items() if n and not train[name]}


def describe_unseen(unseen: Mapping[str, int], recordings: int, partitions: Iterable[str]) -> str:
    """Say which labels were not trained, and how many of the recordings that concerns."""
    return (
        f"no training recording has {quote_labels(unseen)}: {sum(unseen.values())} of "
        f"{recordings} recordings of {', '.join(partitions)} can only be classified wrongly"
    )


def describe_thin(train: Mapping[str, int], test: Mapping[str, int]) -> list[str]:
    """Say which labels have a single training recording, and of which nothing is measured."""
    lines = []
    if single := [name for name, n in train.items() if n == 1]:
        lines.append(f"one training recording only: {quote_labels(single)}")
    if untested := [name for name, n in train.items() if n and not test[name]]:
        lines.append(f"no test recording, so no score: {quote_labels(untested)}")
    return lines


def quote_labels(names: Iterable[str]) -> str:
    """Name labels; of more than three, three and how many others there are."""
    names = list(names)
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    others = len(names) - _MOST_NAMED
    more = f" and {others} other{'s' if others > 1 else ''}" if others > 0 else ""
    return f"{'labels' if len(names) > 1 else 'label'} {shown}{more}"
