"""Starting from the encoder of another training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from dem.errors import InputError
from tests.processes import error_in
from tests.trainer.jobs import train_words, weights
from tests.trainer.synthetic import write_features
from trainer.config import ResolvedConfig
from trainer.data.features import Features, open_features
from trainer.model.files import load_keras
from trainer.model.load import model_sha256
from trainer.runtime.job_dir import INITIAL, TRAINING_RECORDINGS, read_job_config
from trainer.runtime.training_recordings import read_training_recordings, require_not_trained_on
from trainer.train.__main__ import main
from trainer.train.initial import build_initial_learner, pin_initial_encoder

SMALL = ("encoder=dense", "encoder_width=0.05", "encoder_depth=1", "steps_per_epoch=2")


@pytest.fixture(scope="module")
def other_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other songs, with the same feature settings."""
    return write_features(tmp_path_factory.mktemp("other") / "features", {"train": 30, "test": 3})


@pytest.fixture(scope="module")
def source(features_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training; tests may only read it."""
    job = tmp_path_factory.mktemp("source") / "job"
    assert main(train_words(features_dir, job, *SMALL, "epochs=1")) == 0
    return job


@pytest.mark.parametrize("kind", ["", "export/encoder.keras"])
def test_at_first_the_embeddings_are_those_of_the_other(
    other_features: Path, source: Path, tmp_path: Path, kind: str
) -> None:
    """Whatever the data: the normalisation of the input is that of the other, too."""
    features = open_features(str(other_features))
    init = str(source / kind).rstrip("/")
    config = pin_initial_encoder(str(tmp_path), resolved(source, init=init))
    learner = build_initial_learner(config, features, str(tmp_path))
    tiles = np.random.default_rng(0).normal(-5, 3, (4, *features.info.feature_spec.tile_shape))
    exported = load_keras(str(source / "export" / "encoder.keras"))
    np.testing.assert_allclose(
        np.asarray(learner.encoder(tiles.astype(np.float32))),
        np.asarray(exported(tiles.astype(np.float32))),
        atol=1e-6,
    )
    assert learner.optimizer.iterations.numpy() == 0
    assert config.init_sha256 == model_sha256(str(source / "export" / "encoder.keras"))


def test_a_target_starts_from_the_other_too(
    other_features: Path, source: Path, tmp_path: Path
) -> None:
    features = open_features(str(other_features))
    config = pin_initial_encoder(str(tmp_path), resolved(source, init=str(source), loss="byol"))
    learner = build_initial_learner(config, features, str(tmp_path))
    for model in (learner.encoder, learner.target.encoder):
        for one, other in zip(model.get_weights(), weights(source), strict=True):
            np.testing.assert_array_equal(one, other)


def resolved(source: Path, **settings: str) -> ResolvedConfig:
    return replace(read_job_config(str(source)), **settings)


def test_it_is_recorded_and_a_resumed_run_does_not_need_the_other(
    features_dir: Path, other_features: Path, source: Path, tmp_path: Path
) -> None:
    job, gone = tmp_path / "job", Path(shutil.copytree(source, tmp_path / "gone"))
    sha256 = model_sha256(str(source / "export" / "encoder.keras"))
    words = (*train_words(other_features, job, *SMALL), "--init", str(gone))
    assert main([*words, "--set", "epochs=1"]) == 0
    once = weights(job)
    shutil.rmtree(gone)
    assert main([*words, "--set", "epochs=2"]) == 0
    metrics = json.loads((job / "metrics.json").read_text())
    config = yaml.safe_load((job / "config.yaml").read_text())
    for record in (metrics, config):
        assert (record["init"], record["init_sha256"]) == (str(gone), sha256)
    assert metrics["steps"] == 4
    assert model_sha256(str(job / INITIAL)) == sha256
    assert 0 < np.abs(once[0] - weights(source)[0]).max() < 0.003  # two steps of 0.001
    there, here = (
        read_training_recordings(str(directory / TRAINING_RECORDINGS))
        for directory in (source, job)
    )
    assert there
    assert here
    assert here > there
    with pytest.raises(InputError, match="was trained on 1 of 1 test recordings"):
        require_not_trained_on(str(job), [min(there)])


def test_a_killed_run_starts_again_from_its_copy(
    other_features: Path, source: Path, tmp_path: Path
) -> None:
    """Before the first checkpoint, too."""
    config = pin_initial_encoder(str(tmp_path), resolved(source, init=str(source)))
    shutil.copytree(source / "export", tmp_path / "init")
    (tmp_path / "config.yaml").write_text((source / "config.yaml").read_text())
    text = (tmp_path / "config.yaml").read_text().replace("init: null", "init: /gone")
    text = text.replace("init_sha256: null", f"init_sha256: {config.init_sha256}")
    (tmp_path / "config.yaml").write_text(text)
    pinned = pin_initial_encoder(str(tmp_path), resolved(source, init="/gone"))
    assert pinned.init_sha256 == config.init_sha256
    learner = build_initial_learner(pinned, open_features(str(other_features)), str(tmp_path))
    for one, other in zip(learner.encoder.get_weights(), weights(source), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "setting", "message"),
    [
        ("", "encoder_width=0.1", "another encoder: encoder_width: stored 0.05, requested 0.1"),
        ("", "embedding_size=9", "embedding_size: stored 8, requested 9"),
        ("", "encoder=conv1d", "encoder: stored dense, requested conv1d"),
        ("export/encoder.keras", "encoder_width=0.1", "kernel: stored ("),
        ("export/encoder.keras", "encoder=conv1d", "dense of 7 weights, requested conv1d of "),
        ("export/saved_model", "margin=1", "export/saved_model/export/encoder.keras does not"),
        ("nothing", "margin=1", "does not exist; give --init a finished training, or its export/"),
        ("", "init_sha256=ab", "init_sha256 of the settings differs from that of "),
    ],
)
def test_what_does_not_fit_is_named(
    features_dir: Path,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    setting: str,
    message: str,
) -> None:
    words = train_words(features_dir, tmp_path / "job", *SMALL, setting)
    assert main([*words, "--init", str(source / kind)]) == 2
    assert message in error_in(capsys.readouterr().err)
    assert not (tmp_path / "job").exists()


def test_features_of_other_settings_are_refused(
    features: Features, source: Path, tmp_path: Path
) -> None:
    spec = replace(features.info.feature_spec, fmin_hz=60.0)
    other = Features(
        features.uri, replace(features.info, feature_spec=spec, fingerprint=spec.fingerprint)
    )
    config = pin_initial_encoder(str(tmp_path), resolved(source, init=str(source)))
    with pytest.raises(InputError, match="the model is for features of fingerprint"):
        build_initial_learner(config, other, str(tmp_path))


def test_an_unknown_past_is_a_warning_and_leaves_no_list(
    features_dir: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """So that a test on what it may have been trained on needs --transductive."""
    alone = Path(shutil.copy(source / "export" / "encoder.keras", tmp_path))
    words = train_words(features_dir, tmp_path / "job", *SMALL, "epochs=1", f"init={alone}")
    assert main(words) == 0
    assert "it is not known what" in capsys.readouterr().err
    assert not (tmp_path / "job" / TRAINING_RECORDINGS).exists()
    with pytest.raises(InputError, match="the recordings that the encoder was trained on are"):
        require_not_trained_on(str(tmp_path / "job"), [])
