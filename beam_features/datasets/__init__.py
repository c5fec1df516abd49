"""Adapters: each lists the recordings of one dataset layout; none of them reads audio."""

from collections.abc import Callable

from beam_features.datasets import dcase2018_task5, esc50, fma, folder, sample, table
from beam_features.recording import Listing

DATASETS: dict[str, Callable[[str], Listing]] = {
    "folder": folder.list_recordings,
    "csv": table.list_recordings,
    "esc50": esc50.list_recordings,
    "dcase2018-task5": dcase2018_task5.list_recordings,
    "fma": fma.list_recordings,
    "sample": sample.list_recordings,
}
