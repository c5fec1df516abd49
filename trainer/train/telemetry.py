"""What TensorBoard shows of a training run besides scalars: settings, success, embeddings."""

import dataclasses
from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow as tf
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb

from beam_features.schema.strip import NO_LABEL
from dem import storage
from trainer.config import ResolvedConfig
from trainer.data.tiles import RetrievalPool
from trainer.model.vectors import Float32
from trainer.runtime.tensorboard import EventLog

VECTORS = "validation_embeddings.bytes"  # float32 rows; the projector reads them faster than TSV
METADATA = "validation_tiles.tsv"


def log_settings(events: EventLog, config: ResolvedConfig) -> None:
    """Add the run to the HParams table, with `recall_at_1` as its metric."""
    values = {key: _plain(value) for key, value in dataclasses.asdict(config).items()}
    with events.at(step=0):
        hparams.hparams_config(
            hparams=[hparams.HParam(key) for key in values],
            metrics=[hparams.Metric("recall_at_1")],
        )
        hparams.hparams(values)


def log_success(events: EventLog) -> None:
    """Mark the run as done in the HParams table."""
    with events.at(step=0):
        ended = session_end_pb(api_pb2.STATUS_SUCCESS)
        tf.summary.experimental.write_raw_pb(ended.SerializeToString())


def write_embeddings(
    directory: str, embeddings: Float32, pool: RetrievalPool, label_names: Sequence[str]
) -> None:
    """Write the pool's embeddings and their metadata for TensorBoard's projector."""
    rows = ["recording\tcontext\tlabel"]
    for *names, label in zip(pool.recordings, pool.contexts, pool.labels, strict=True):
        name = "" if label == NO_LABEL else label_names[label]
        rows.append("\t".join(map(_one_cell, [*names, name])))
    vectors = np.ascontiguousarray(embeddings, "<f4").tobytes()
    storage.write_bytes(storage.join(directory, VECTORS), vectors)
    storage.write_text(storage.join(directory, METADATA), "\n".join(rows) + "\n")
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name="validation",
        tensor_shape=embeddings.shape,
        tensor_path=VECTORS,
        metadata_path=METADATA,
    )
    projector.visualize_embeddings(directory, config)


class Profiler:
    """Profiles the steps from a first to a last one, if given, into a log directory."""

    def __init__(self, directory: str, steps: tuple[int, int] | None) -> None:
        self._directory, self._steps, self._running = directory, steps, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Stop and write the profile, if profiling runs."""
        if self._running:
            tf.profiler.experimental.stop()

    def steps_to_edge(self, step: int) -> int | None:
        """Count the steps after `step` until profiling starts or stops; None: it does neither."""
        if self._steps is None:
            return None
        first, last = self._steps
        return next((edge - step for edge in (first - 1, last) if edge > step), None)

    def update(self, step: int) -> None:
        """Start or stop, as the step after `step` requires."""
        wanted = self._steps is not None and self._steps[0] <= step + 1 <= self._steps[1]
        if wanted and not self._running:
            tf.profiler.experimental.start(self._directory)
        if self._running and not wanted:
            tf.profiler.experimental.stop()
        self._running = wanted


def _plain(value: object) -> bool | int | float | str:
    """Convert a value to a type that the HParams table supports."""
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else "null"


def _one_cell(text: str) -> str:
    return text.translate({ord(character): " " for character in "\t\r\n"})
