"""Adapters: each lists the recordings of one dataset layout, without reading audio.

An adapter is a function ``(input: str) -> beam_features.recording.Listing``, named here, or by a
user as ``module:function``. `input` is what ``--input`` says.
"""

from dem.registry import Registry

DATASETS = Registry(
    "dataset",
    {
        "folder": "beam_features.datasets.folder:list_recordings",
        "csv": "beam_features.datasets.table:list_recordings",
        "esc50": "beam_features.datasets.esc50:list_recordings",
        "dcase2018-task5": "beam_features.datasets.dcase2018_task5:list_recordings",
        "fma": "beam_features.datasets.fma:list_recordings",
        "sample": "beam_features.datasets.sample:list_recordings",
    },
    extensible=True,
)
