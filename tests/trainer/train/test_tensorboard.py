import io
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.projector import ProjectorConfig

from beam_features.schema.strip import NO_LABEL
from trainer.config import ResolvedConfig
from trainer.data.tiles import RetrievalPool
from trainer.plots.curve import curve_png
from trainer.train.tensorboard import Telemetry, read_curves, write_figures


def test_settings_are_in_the_hparams_table(tmp_path: Path) -> None:
    telemetry = Telemetry(str(tmp_path), None, is_chief=True)
    telemetry.log_settings(ResolvedConfig(margin=0.5, train_partitions=("fold1", "fold2")))
    telemetry.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    experiment, session = (
        plugin_data_pb2.HParamsPluginData.FromString(
            events.summary_metadata[tag].plugin_data.content
        )
        for tag in ("_hparams_/experiment", "_hparams_/session_start_info")
    )
    assert [info.name.tag for info in experiment.experiment.metric_infos] == ["recall_at_1"]
    values = session.session_start_info.hparams
    assert values["margin"].number_value == 0.5
    assert values["jit_compile"].bool_value is False
    assert values["augment"].string_value == "gain, time_mask, mel_mask"
    assert values["train_partitions"].string_value == "fold1, fold2"
    assert values["clip_norm"].string_value == "null"


def test_a_run_that_ended_well_is_told_from_one_that_did_not(tmp_path: Path) -> None:
    telemetry = Telemetry(str(tmp_path), None, is_chief=True)
    telemetry.log_success()
    telemetry.close()
    content = (
        EventAccumulator(str(tmp_path))
        .Reload()
        .summary_metadata["_hparams_/session_end_info"]
        .plugin_data.content
    )
    end = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
    assert end.status == api_pb2.STATUS_SUCCESS


def test_a_resumed_run_replaces_the_points_that_were_lost(tmp_path: Path) -> None:
    """Killed after step 4 with a checkpoint of step 2: steps 3 and 4 are made, and shown, anew."""
    for steps, value, made in (((1, 2, 3, 4), 0.0, 0), ((3, 4, 5), 1.0, 2)):
        telemetry = Telemetry(str(tmp_path), None, is_chief=True, step=made)
        for step in steps:
            telemetry.log({"loss": value}, step)
        telemetry.close()
        time.sleep(1.1)  # files are read in the order of the second in their names
    events = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload().Tensors("loss")
    points = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events]
    assert points == [(1, 0.0), (2, 0.0), (3, 1.0), (4, 1.0), (5, 1.0)]


def test_the_projector_finds_vectors_and_what_they_are(tmp_path: Path) -> None:
    embeddings = np.arange(6, dtype=np.float32).reshape(3, 2)
    pool = RetrievalPool(
        log_mel=np.zeros((3, 1, 1), np.float16),
        contexts=np.array(["a\tb", "c", "c"], object),
        labels=np.array([1, 0, NO_LABEL]),
        recordings=np.array(["x.wav", "y\nz.wav", "y.wav"], object),
    )
    Telemetry(str(tmp_path), None, is_chief=True).log_embeddings(embeddings, pool, ("bell", "drum"))
    config = ProjectorConfig()
    text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
    (shown,) = config.embeddings
    stored = np.fromfile(tmp_path / shown.tensor_path, np.float32).reshape(shown.tensor_shape)
    np.testing.assert_array_equal(stored, embeddings)
    rows = (tmp_path / shown.metadata_path).read_text()
    assert rows == ("recording\tcontext\tlabel\nx.wav\ta b\tdrum\ny z.wav\tc\tbell\ny.wav\tc\t\n")


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


def test_curves_are_read_as_they_were_logged(tmp_path: Path) -> None:
    directory = str(tmp_path)
    telemetry = Telemetry(directory, None, is_chief=True)
    for step, loss in ((1, 0.5), (2, 0.25), (5, 0.125)):
        telemetry.log({"loss": loss, "other": 1.0}, step)
    telemetry.close()
    curves = read_curves(directory, ("loss", "recall_at_1"))
    assert curves.keys() == {"loss"}
    steps, values = curves["loss"]
    assert steps.tolist() == [1, 2, 5]
    assert values.tolist() == [0.5, 0.25, 0.125]
    assert read_curves(f"{directory}/none", ("loss",)) == {}


def test_steps_to_profile_have_host_calls_of_their_own() -> None:
    """Steps 10 to 15: profiling begins when 9 are made, and ends when 15 are."""
    telemetry = Telemetry("unused", (10, 15), is_chief=False)
    edges = {step: telemetry.steps_to_profile_edge(step) for step in (0, 8, 9, 14, 15)}
    assert edges == {0: 9, 8: 1, 9: 6, 14: 1, 15: None}


def test_workers_other_than_the_chief_write_nothing(tmp_path: Path) -> None:
    telemetry = Telemetry(str(tmp_path), (1, 2), is_chief=False)
    telemetry.log_settings(ResolvedConfig())
    telemetry.profile(0)
    telemetry.log({"loss": 1.0}, step=1)
    telemetry.close()
    assert not list(tmp_path.iterdir())
