"""The tables and tabs of TensorBoard that a training run fills."""

from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.projector import ProjectorConfig

from beam_features.schema.strip import NO_LABEL
from trainer.config import ResolvedConfig
from trainer.data.tiles import RetrievalPool
from trainer.runtime.tensorboard import EventLog
from trainer.train.telemetry import Profiler, log_settings, log_success, write_embeddings


def test_settings_are_in_the_hparams_table(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path))
    log_settings(log, ResolvedConfig(margin=0.5, train_partitions=("fold1", "fold2")))
    log.flush()
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
    log = EventLog(str(tmp_path))
    log_success(log)
    log.flush()
    content = (
        EventAccumulator(str(tmp_path))
        .Reload()
        .summary_metadata["_hparams_/session_end_info"]
        .plugin_data.content
    )
    end = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info
    assert end.status == api_pb2.STATUS_SUCCESS


def test_the_projector_finds_vectors_and_what_they_are(tmp_path: Path) -> None:
    embeddings = np.arange(6, dtype=np.float32).reshape(3, 2)
    pool = RetrievalPool(
        log_mel=np.zeros((3, 1, 1), np.float16),
        contexts=np.array(["a\tb", "c", "c"], object),
        start_ms=np.array([0, 0, 1000]),
        labels=np.array([1, 0, NO_LABEL]),
        recordings=np.array(["x.wav", "y\nz.wav", "y.wav"], object),
    )
    write_embeddings(str(tmp_path), embeddings, pool, ("bell", "drum"))
    config = ProjectorConfig()
    text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
    (shown,) = config.embeddings
    stored = np.fromfile(tmp_path / shown.tensor_path, np.float32).reshape(shown.tensor_shape)
    np.testing.assert_array_equal(stored, embeddings)
    rows = (tmp_path / shown.metadata_path).read_text()
    assert rows == ("recording\tcontext\tlabel\nx.wav\ta b\tdrum\ny z.wav\tc\tbell\ny.wav\tc\t\n")


def test_steps_to_profile_have_host_calls_of_their_own() -> None:
    """Steps 10 to 15: profiling begins when 9 are made, and ends when 15 are."""
    profiler = Profiler("unused", (10, 15))
    edges = {step: profiler.steps_to_edge(step) for step in (0, 8, 9, 14, 15)}
    assert edges == {0: 9, 8: 1, 9: 6, 14: 1, 15: None}


def test_workers_other_than_the_chief_write_nothing(tmp_path: Path) -> None:
    log = EventLog(str(tmp_path), writes=False)
    log_settings(log, ResolvedConfig())
    log_success(log)
    log.log({"loss": 1.0}, step=1)
    log.flush()
    assert not list(tmp_path.iterdir())
