"""Adapters: each lists the recordings of one dataset layout; none of them reads audio."""

from collections.abc import Callable

from beam_features.datasets import esc50, folder, sample
from beam_features.recording import Recording

DATASETS: dict[str, Callable[[str], list[Recording]]] = {
    "folder": folder.list_recordings,
    "esc50": esc50.list_recordings,
    "sample": sample.list_recordings,
}
