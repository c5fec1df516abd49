"""Vectors of made-up recordings around a centre per label, and of the tiles of features."""

from collections.abc import Sequence

import numpy as np

from trainer.data.features import Features
from trainer.data.overlap import shifts
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import tile_batches
from trainer.data.vector_table import VectorTable
from trainer.model.vectors import Representation

LABEL_NAMES = ("bell", "drum", "flute")


def table(labels: list[int], vectors: np.ndarray, tiles_per_recording: int = 1) -> VectorTable:
    recordings = np.array([f"r{i // tiles_per_recording:03d}" for i in range(len(labels))])
    return VectorTable(
        vectors=vectors.astype(np.float32),
        recording_ids=recordings,
        context_ids=recordings,
        session_ids=recordings,
        start_ms=np.zeros(len(labels), np.int64),
        labels=np.array(labels, np.int64),
        audible=np.ones(len(labels), np.bool_),
    )


def blobs(n: int, seed: int, spread: float = 0.3, size: int = 2) -> VectorTable:
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) // 2 % 3).tolist()  # two tiles per recording
    centres = np.eye(3, size) * 3
    return table(labels, centres[labels] + rng.normal(0, spread, (n, size)), 2)


def tile_table(
    features: Features, partitions: Sequence[str], represent: Representation, overlap: int = 1
) -> VectorTable:
    """Vectors of all tiles of the partitions, in memory."""
    batches = [
        batch
        for shift in shifts(features.info.feature_spec.tile_frames, overlap)
        for batch in tile_batches(features, partitions, CorruptRecords(0), shift=shift)
    ]

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.array(getattr(batch, name)) for batch in batches])

    return VectorTable(
        vectors=np.concatenate([represent(batch.log_mel) for batch in batches]),
        recording_ids=column("recording_ids"),
        context_ids=column("context_ids"),
        session_ids=column("session_ids"),
        start_ms=column("start_ms"),
        labels=column("labels"),
        audible=column("audible"),
    )
