"""Event files as TensorBoard reads them."""

import io
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from trainer.plots.curve import curve_png
from trainer.runtime.tensorboard import EventLog, read_curves, write_figures


def test_a_resumed_run_replaces_the_points_that_were_lost(tmp_path: Path) -> None:
    """Killed after step 4 with a checkpoint of step 2: steps 3 and 4 are made, and shown, anew."""
    for steps, value, made in (((1, 2, 3, 4), 0.0, 0), ((3, 4, 5), 1.0, 2)):
        log = EventLog(str(tmp_path), step=made)
        for step in steps:
            log.log({"loss": value}, step)
        log.flush()
        time.sleep(1.1)  # files are read in the order of the second in their names
    events = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload().Tensors("loss")
    points = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events]
    assert points == [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 1.0)]


def test_figures_are_images_of_their_size(tmp_path: Path) -> None:
    directory = str(tmp_path / "classifier" / "none-logistic")
    steps, values = np.arange(4), np.array([3.0, 2.0, 1.5, 1.0])
    for name in ("first", "second"):  # which replaces the first
        write_figures(directory, {name: curve_png(steps, values, "loss")})
    events = EventAccumulator(directory, {"tensors": 0}).Reload()
    assert events.Tags()["tensors"] == ["figures/second"]
    (event,) = events.Tensors("figures/second")
    width, height, png = tf.make_ndarray(event.tensor_proto).tolist()
    assert (int(width), int(height)) == (900, 525)
    assert plt.imread(io.BytesIO(png)).shape[:2] == (525, 900)


@pytest.mark.parametrize("scheme", ["", "ram:/"])
def test_curves_are_read_as_they_were_logged(tmp_path: Path, scheme: str) -> None:
    """From local disk, and from a filesystem that only TensorFlow knows, as ``gs://`` is."""
    directory = f"{scheme}{tmp_path}"
    log = EventLog(directory)
    for step, loss in ((1, 0.5), (2, 0.25), (5, 0.125)):
        log.log({"loss": loss, "other": 1.0}, step)
    log.flush()
    curves = read_curves(directory, ("loss", "recall_at_1"))
    assert curves.keys() == {"loss"}
    steps, values = curves["loss"]
    assert steps.tolist() == [1, 2, 5]
    assert values.tolist() == [0.5, 0.25, 0.125]
    assert read_curves(f"{directory}/none", ("loss",)) == {}
