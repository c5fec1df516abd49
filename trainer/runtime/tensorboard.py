"""TensorBoard's event files: writing scalars and images, and reading scalars back."""

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from dem import storage
from trainer.runtime.tensorflow_files import reading, writing

FIGURES = "figures"

Curve = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


class EventLog:
    """Event files in a directory; with ``writes=False`` nothing is written."""

    def __init__(self, directory: str, *, writes: bool = True, step: int = 0) -> None:
        """`step`: the number of steps done so far; points of later steps are dropped."""
        self.directory, self.writes = directory, writes
        with writing(directory):
            if writes:
                _log_start(directory, step)
                self._writer = tf.summary.create_file_writer(directory)
            else:
                self._writer = tf.summary.create_noop_writer()

    def at(self, step: int) -> AbstractContextManager[Any]:
        """Make this log the target of `tf.summary` functions."""
        return self._writer.as_default(step=step)  # type: ignore[no-any-return]

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        with writing(self.directory), self.at(step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def log_figures(self, pictures: Mapping[str, bytes], step: int) -> None:
        """Add PNG files as images, each under its name."""
        with self.at(step):
            for name, picture in pictures.items():
                tf.summary.image(f"{FIGURES}/{name}", tf.io.decode_png(picture, channels=3)[None])

    def flush(self) -> None:
        """Write buffered events; object storage rewrites the whole file, so call it rarely."""
        with writing(self.directory):
            self._writer.flush()


def write_figures(directory: str, pictures: Mapping[str, bytes]) -> None:
    """Replace `directory` by a TensorBoard run that holds only these PNG files."""
    storage.delete_tree(directory)
    events = EventLog(directory)
    events.log_figures(pictures, step=0)
    events.flush()


def read_curves(directory: str, names: Sequence[str]) -> dict[str, Curve]:
    """Read scalars by name, as steps and values ``[points]``; names without points are left out."""
    with reading(directory):
        if not tf.io.gfile.exists(directory):
            return {}
        events = EventAccumulator(directory, size_guidance={"tensors": 0}).Reload()
    curves = {}
    for name in set(names) & set(events.Tags()["tensors"]):
        points = events.Tensors(name)
        values = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
        curves[name] = np.array([point.step for point in points]), np.array(values)
    return curves


def _log_start(directory: str, step: int) -> None:
    """Mark the start of a process: TensorBoard then drops points that a killed one logged later."""
    writer = EventFileWriter(directory)
    start = SessionLog(status=SessionLog.START)
    writer.add_event(Event(wall_time=time.time(), step=step + 1, session_log=start))
    writer.close()
