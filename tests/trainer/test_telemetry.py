from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.projector import ProjectorConfig

from beam_features.schema.strip import NO_LABEL
from trainer.config import ResolvedConfig
from trainer.data import RetrievalPool
from trainer.telemetry import Telemetry


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


def test_the_projector_finds_vectors_and_what_they_are(tmp_path: Path) -> None:
    embeddings = np.arange(6, dtype=np.float32).reshape(3, 2)
    pool = RetrievalPool(
        log_mel=np.zeros((3, 1, 1), np.float16),
        contexts=np.array(["a\tb", "c", "c"], object),
        labels=np.array([1, 0, NO_LABEL]),
    )
    Telemetry(str(tmp_path), None, is_chief=True).log_embeddings(embeddings, pool, ("bell", "drum"))
    config = ProjectorConfig()
    text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
    (shown,) = config.embeddings
    stored = np.fromfile(tmp_path / shown.tensor_path, np.float32).reshape(shown.tensor_shape)
    np.testing.assert_array_equal(stored, embeddings)
    rows = (tmp_path / shown.metadata_path).read_text()
    assert rows == "context\tlabel\na b\tdrum\nc\tbell\nc\t\n"


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
