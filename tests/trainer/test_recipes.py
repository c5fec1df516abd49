"""The settings under ``configs/``: each is valid, and those of the original study train."""

from pathlib import Path

import pytest

from dem.settings import load_settings
from dem.storage import read_text
from tests.trainer.synthetic import write_features
from trainer.choices import ENCODERS
from trainer.config import TrainConfig
from trainer.data.features import open_features
from trainer.train.corpus import open_corpus
from trainer.train.resolve import resolve_config
from trainer.train.run import train

CONFIGS = Path(__file__).parents[2] / "configs"


RECIPES = sorted(path for path in CONFIGS.glob("*.yaml") if not path.name.startswith("tune"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(path: Path) -> None:
    assert load_settings(TrainConfig, str(path), [], read_text).encoder in ENCODERS


def test_the_demo_has_the_defaults_but_for_epochs() -> None:
    assert load_settings(TrainConfig, str(CONFIGS / "demo.yaml"), [], read_text) == TrainConfig(
        epochs=20
    )


def test_the_recipe_of_dcase_fits_a_home_of_several_sensors(tmp_path: Path) -> None:
    """Each tile of each sensor is an anchor once per epoch, so the steps grow with the corpus."""
    config = load_settings(TrainConfig, str(CONFIGS / "dcase2018_task5.yaml"), [], read_text)
    folds = dict.fromkeys(("fold1", "fold2", "fold3", "fold4"), 30)
    home = write_features(tmp_path / "features", folds, sensors=4)
    features = open_features(str(home))
    resolved = resolve_config(config, features)
    assert resolved.train_partitions == ("fold1", "fold2")
    assert resolved.steps_per_epoch == 2 * 30 * 4 * 6 // resolved.batch_size == 5
    corpus = open_corpus(features, resolved)
    assert corpus.pairs.draw.n_anchors == corpus.pairs.draw.n_elsewhere == 2 * 30 * 4 * 6


@pytest.mark.slow
def test_the_original_recipe_trains(features_dir: Path, tmp_path: Path) -> None:
    few = ["batch_size=16", "epochs=2", "steps_per_epoch=2"]
    config = load_settings(TrainConfig, str(CONFIGS / "original.yaml"), few, read_text)
    assert (config.encoder, config.loss, config.mining) == ("resnet18", "triplet", "random")
    assert (config.margin, config.reducer) == (1.0, "active_mean")
    metrics = train(str(features_dir), str(tmp_path / "job"), config, terminated=lambda: False)
    assert metrics["steps"] == 4
    assert metrics["parameters"] == 11_170_240 + 9_600 + 512 * 256 + 256
    assert (tmp_path / "job" / "export" / "saved_model" / "saved_model.pb").exists()
