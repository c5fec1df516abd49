"""A dataset, an encoder and a loss of a user, named as ``module:function``, with the command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import yaml

from beam_features.schema.feature_spec import FeatureSpec
from dem.__main__ import main
from dem.errors import InputError
from tests.processes import ROOT
from trainer.choices import ENCODERS, LOSSES
from trainer.config import Architecture, TrainConfig
from trainer.model.encoders import check_encoder
from trainer.model.losses import build_loss
from tuning.space import read_space

OWN_PARTS = '''
import os

import keras
import tensorflow as tf

from beam_features.recording import Listing, Recording
from trainer.config import Architecture, TrainConfig
from trainer.model.losses import Loss, part_of


def two_nights(input: str) -> Listing:
    """Files named NIGHT-INDEX.wav; a night is a session, and the last one is the test."""
    names = sorted(os.listdir(input))
    return Listing(tuple(
        Recording(
            recording_id=name,
            uri=f"{input}/{name}",
            label=None,
            partition="test" if name.startswith("2") else "train",
            context_id=name,
            session_id=name,
        )
        for name in names
    ))


def tiny(tiles: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    """A linear layer on the mean over time."""
    mean = keras.layers.GlobalAveragePooling1D()(tiles)
    for _ in range(architecture.depth or 1):
        mean = keras.layers.Dense(architecture.widen(16), name="of_my_own")(mean)
    return mean


def attract(config: TrainConfig, size: int) -> Loss:
    """Only the distance to the neighbour, plus 7 to be recognised."""
    def loss(anchors, neighbours, sessions, seed, rows):
        apart = tf.reduce_sum(tf.square(anchors - neighbours)[rows], axis=1)
        opposite = sessions[rows][:, None] != tf.tile(sessions, [2])[None, :]
        return {"loss": part_of(7.0 + config.margin * apart), "apart": part_of(apart)}, opposite

    return Loss(loss, ("loss", "apart"))


def without_rows(config: TrainConfig, size: int) -> Loss:
    return Loss(lambda anchors, neighbours, sessions, seed: None, ("loss",))


def without_parts(config: TrainConfig, size: int) -> Loss:
    def loss(anchors, neighbours, sessions, seed, rows):
        return {"loss": part_of(anchors), "mean": tf.reduce_mean(anchors)}, None

    return Loss(loss, ("loss", "mean"))
'''
SCRIPT = "import sys\nfrom dem.__main__ import main\nsys.exit(main())\n"  # what pip installs as dem


def dem(directory: Path, *words: object) -> None:
    """Run the command as pip installs it, in a directory."""
    finished = subprocess.run(
        [sys.executable, directory / "bin" / "dem", *map(str, words)],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


def dem_here(directory: Path, *words: str) -> None:
    """Run the command in this process, which has TensorFlow already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        patch.setattr(sys, "path", [*sys.path])
        assert main(list(words)) == 0
        sys.modules.pop("my_parts")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the user's module, recordings, features and a trained job."""
    home = tmp_path_factory.mktemp("own")
    (home / "bin").mkdir()
    (home / "bin" / "dem").write_text(SCRIPT)
    (home / "my_parts.py").write_text(OWN_PARTS)
    (home / "audio").mkdir()
    for seed, name in enumerate(("0-0", "0-1", "1-0", "1-1", "2-0")):
        samples = np.random.default_rng(seed).normal(0, 0.05, 4 * 8000)
        soundfile.write(home / "audio" / f"{name}.wav", samples, 8000)
    spec = ("sample_rate_hz=8000", "n_mels=8")
    words = ("--dataset", "my_parts:two_nights", "--input", "audio", "--output", "features")
    dem(home, "features", *words, "--shards", 1, "--set", *spec)
    own = ("encoder=my_parts:tiny", "loss=my_parts:attract", "encoder_width=0.5")
    small = ("embedding_size=4", "batch_size=8", "epochs=1", "steps_per_epoch=2")
    sets = ("--set", *own, *small, "validation_partitions=[]")
    dem_here(home, "train", "--data", "features", "--job-dir", "job", *sets)
    return home


def test_the_dataset_decides_the_recordings(home: Path) -> None:
    info = json.loads((home / "features" / "dataset_info.json").read_text())
    assert info["source"]["dataset"] == "my_parts:two_nights"
    assert {name: part["recordings"] for name, part in info["partitions"].items()} == {
        "train": 4,
        "test": 1,
    }


def test_the_job_keeps_the_names(home: Path) -> None:
    config = yaml.safe_load((home / "job" / "config.yaml").read_text())
    assert (config["encoder"], config["loss"]) == ("my_parts:tiny", "my_parts:attract")


def test_the_encoder_is_trained_and_loads_without_the_module(home: Path) -> None:
    assert "my_parts" not in sys.modules
    encoder = keras.models.load_model(home / "job" / "export" / "encoder.keras")
    assert encoder.name == "tiny"
    assert encoder.get_layer("of_my_own").kernel.shape == (8, 8)
    assert encoder.output_shape == (None, 4)


def test_the_loss_is_minimised(home: Path) -> None:
    assert 7 < json.loads((home / "job" / "metrics.json").read_text())["loss"] < 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "without_rows",
            r"loss='my_parts:without_rows': its function is to take \(anchors, neighbours, "
            r"sessions, seed, rows\), but too many positional arguments; CONTRIBUTING.md shows one",
        ),
        (
            "without_parts",
            "loss='my_parts:without_parts': its function is to give 'mean' as a Part",
        ),
    ],
)
def test_a_loss_that_cannot_be_shared_out_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """As those of version 0.3, which gave means of the whole batch."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(home)])
    with pytest.raises(InputError, match=message):
        build_loss(TrainConfig(loss=f"my_parts:{name}"), 4)


def test_a_search_takes_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, str(home)])
    own, tile_shape = "my_parts:tiny", FeatureSpec().tile_shape
    space = read_space({"encoder": {"choices": ["conv2d", own]}})
    assert space.searched["encoder"].extremes == ("conv2d", own)
    assert space.conditions("encoder_width") == {"encoder": ("conv2d",)}
    check_encoder(Architecture(own, width=0.5, depth=3), tile_shape)
    assert ENCODERS[own].__name__ == "tiny"
    assert LOSSES["my_parts:attract"].__name__ == "attract"
    with pytest.raises(InputError, match="module 'my_parts' has no function 'tinny'; did you mean"):
        check_encoder(Architecture("my_parts:tinny"), tile_shape)
