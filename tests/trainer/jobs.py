"""Small training jobs."""

from pathlib import Path

import numpy as np

from trainer.model.files import load_keras

SETTINGS = ("batch_size=16", "epochs=5", "embedding_size=8", "projection_size=4", "margin=1.0")


def train_words(features: Path, job: Path, *settings: str) -> list[str]:
    """Arguments of ``trainer.train`` for a run of 45 steps, unless the settings say otherwise."""
    return ["--data", str(features), "--job-dir", str(job), "--set", *SETTINGS, *settings]


def train_command(features: Path, job: Path, *settings: str) -> tuple[str, ...]:
    """The same as words after ``python -m``."""
    return "trainer.train", *train_words(features, job, *settings)


def weights(job: Path) -> list[np.ndarray]:
    """Weights of the exported encoder."""
    return load_keras(str(job / "export" / "encoder.keras")).get_weights()
