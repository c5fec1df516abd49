"""Vectors of made-up recordings around a centre per label."""

import numpy as np

from trainer.model.vectors import VectorTable

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
