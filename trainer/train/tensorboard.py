"""What TensorBoard shows of a run: scalars, settings, embeddings, figures, in `JOB/logs`."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.summary import session_end_pb
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from beam_features.schema.strip import NO_LABEL
from dem import storage
from trainer.config import ResolvedConfig
from trainer.data.tiles import RetrievalPool
from trainer.model.vectors import Float32
from trainer.runtime.tensorflow_files import reading, writing

VECTORS = "validation_embeddings.bytes"  # float32 rows; the projector reads them faster than TSV
METADATA = "validation_tiles.tsv"
FIGURES = "figures"

Curve = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]


class Telemetry:
    """Writes the log directory; on workers other than the chief, nothing."""

    def __init__(
        self,
        directory: str,
        profile_steps: tuple[int, int] | None,
        *,
        is_chief: bool,
        step: int = 0,
    ) -> None:
        """`step`: how many steps the run has made; what is logged of later ones was lost."""
        self._directory, self._is_chief = directory, is_chief
        self._profile_steps, self._profiling = profile_steps, False
        with writing(directory):
            if is_chief:
                _log_start(directory, step)
            self._writer = (
                tf.summary.create_file_writer(directory)
                if is_chief
                else tf.summary.create_noop_writer()
            )

    def log(self, scalars: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""
        with writing(self._directory), self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.scalar(name, value)

    def log_settings(self, config: ResolvedConfig) -> None:
        """Show the run in the HParams table, with `recall_at_1` as what it is judged by."""
        values = {key: _plain(value) for key, value in dataclasses.asdict(config).items()}
        with self._writer.as_default(step=0):
            hparams.hparams_config(
                hparams=[hparams.HParam(key) for key in values],
                metrics=[hparams.Metric("recall_at_1")],
            )
            hparams.hparams(values)

    def log_success(self) -> None:
        """Show the run as done in the HParams table."""
        with self._writer.as_default(step=0):
            ended = session_end_pb(api_pb2.STATUS_SUCCESS)
            tf.summary.experimental.write_raw_pb(ended.SerializeToString())

    def log_embeddings(
        self, embeddings: Float32, pool: RetrievalPool, label_names: Sequence[str]
    ) -> None:
        """Write the pool's embeddings for the projector, and what each is."""
        if not self._is_chief:
            return
        rows = ["recording\tcontext\tlabel"]
        for *names, label in zip(pool.recordings, pool.contexts, pool.labels, strict=True):
            name = "" if label == NO_LABEL else label_names[label]
            rows.append("\t".join(map(_one_cell, [*names, name])))
        vectors = np.ascontiguousarray(embeddings, "<f4").tobytes()
        storage.write_bytes(storage.join(self._directory, VECTORS), vectors)
        storage.write_text(storage.join(self._directory, METADATA), "\n".join(rows) + "\n")
        config = projector.ProjectorConfig()
        config.embeddings.add(
            tensor_name="validation",
            tensor_shape=embeddings.shape,
            tensor_path=VECTORS,
            metadata_path=METADATA,
        )
        projector.visualize_embeddings(self._directory, config)

    def log_figures(self, pictures: Mapping[str, bytes], step: int) -> None:
        """Show PNG files as images, each by its name."""
        with self._writer.as_default(step=step):
            for name, picture in pictures.items():
                tf.summary.image(f"{FIGURES}/{name}", tf.io.decode_png(picture, channels=3)[None])

    def flush(self) -> None:
        """Write what was logged; on object storage that is the whole file again, so not often."""
        with writing(self._directory):
            self._writer.flush()

    def steps_to_profile_edge(self, step: int) -> int | None:
        """How many steps after `step` profiling begins or ends; None if it no longer does."""
        if self._profile_steps is None:
            return None
        first, last = self._profile_steps
        return next((edge - step for edge in (first - 1, last) if edge > step), None)

    def profile(self, step: int) -> None:
        """Begin or end profiling, as is asked for the step after `step`."""
        if self._profile_steps is None or not self._is_chief:
            return
        wanted = self._profile_steps[0] <= step + 1 <= self._profile_steps[1]
        if wanted and not self._profiling:
            tf.profiler.experimental.start(self._directory)
        if self._profiling and not wanted:
            tf.profiler.experimental.stop()
        self._profiling = wanted

    def close(self) -> None:
        """Write what is held."""
        if self._profiling:
            tf.profiler.experimental.stop()
            self._profiling = False
        self.flush()


def write_figures(directory: str, pictures: Mapping[str, bytes]) -> None:
    """Make `directory` a run of TensorBoard's that shows these PNG files and nothing else."""
    storage.delete_tree(directory)
    telemetry = Telemetry(directory, None, is_chief=True)
    telemetry.log_figures(pictures, step=0)
    telemetry.close()


def read_curves(directory: str, names: Sequence[str]) -> dict[str, Curve]:
    """Read scalars that were logged: steps and values ``[points]`` by name, of those that were."""
    if not storage.exists(directory):
        return {}
    with reading(directory):
        events = EventAccumulator(directory, size_guidance={"tensors": 0}).Reload()
    curves = {}
    for name in set(names) & set(events.Tags()["tensors"]):
        points = events.Tensors(name)
        values = [float(tf.make_ndarray(point.tensor_proto)) for point in points]
        curves[name] = np.array([point.step for point in points]), np.array(values)
    return curves


def _log_start(directory: str, step: int) -> None:
    """Tell TensorBoard where a process begins: from its second on, it drops the points after it."""
    writer = EventFileWriter(directory)
    start = SessionLog(status=SessionLog.START)
    writer.add_event(Event(wall_time=time.time(), step=step + 1, session_log=start))
    writer.close()


def _plain(value: object) -> bool | int | float | str:
    """A value of the kinds that the HParams table knows."""
    if isinstance(value, bool | int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else "null"


def _one_cell(text: str) -> str:
    return text.translate({ord(character): " " for character in "\t\r\n"})
