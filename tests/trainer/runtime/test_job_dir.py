from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from dem.errors import InputError
from tests.trainer.synthetic import write_features
from trainer.config import ResolvedConfig, TrainConfig
from trainer.data.features import Features, open_features
from trainer.runtime.job_dir import claim_job_dir, read_job_config
from trainer.train.resolve import resolve_config


def test_the_data_fill_in_what_is_left_open(features: Features) -> None:
    """24 songs of 6 tiles are 144 tiles: 9 batches of 16."""
    config = resolve_config(TrainConfig(batch_size=16), features)
    assert config.train_partitions == ("train",)
    assert config.validation_partitions == ("validation",)
    assert config.test_partitions == ("test",)
    assert config.steps_per_epoch == 9
    assert config.fingerprint == features.info.fingerprint


@pytest.mark.parametrize(("songs", "batch_size"), [(1, 4), (3, 16), (22, 128), (43, 128)])
def test_the_batch_fits_few_tiles(tmp_path: Path, songs: int, batch_size: int) -> None:
    """Of 6, 18, 132 and 258 tiles, unless it is set."""
    features = open_features(str(write_features(tmp_path / "features", {"train": songs})))
    resolved = resolve_config(TrainConfig(), features)
    assert resolved.batch_size == batch_size
    assert resolved.steps_per_epoch == 6 * songs // batch_size


def test_a_silent_partition_is_no_default_for_validation(features: Features) -> None:
    info = features.info
    silent = replace(info.partitions["validation"], silent=9)
    quiet = replace(
        features, info=replace(info, partitions={**info.partitions, "validation": silent})
    )
    assert resolve_config(TrainConfig(), quiet).validation_partitions == ()
    asked = TrainConfig(validation_partitions=("validation",))
    assert resolve_config(asked, quiet).validation_partitions == ("validation",)


def test_what_is_set_stays(features: Features) -> None:
    config = resolve_config(
        TrainConfig(batch_size=16, steps_per_epoch=2, validation_partitions=()), features
    )
    assert config.steps_per_epoch == 2
    assert config.validation_partitions == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_partitions": ("fold5",)}, "no partition 'fold5' in"),
        ({"batch_size": 145}, r"batch_size=145, but the train_partitions \(train\) hold 144 tiles"),
        (
            {"warmup_steps": 180, "batch_size": 8},
            "warmup_steps=180, but the run has 180 steps; lower",
        ),
        ({"neighbourhood_s": 0.1}, "neighbourhood_s=0.1 is shorter than a tile of 0.16 s"),
        ({"content_sha256": "0"}, "content_sha256 of the settings differs from that of"),
        ({"fingerprint": "0123456789abcdef"}, "features of fingerprint 0123456789ab, but .* has"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(
    features: Features, settings: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        resolve_config(TrainConfig(**settings), features)


def test_a_job_directory_takes_the_same_settings_again(tmp_path: Path) -> None:
    config = ResolvedConfig(train_partitions=("a", "b"), fingerprint="f")
    claim_job_dir(str(tmp_path / "job"), config)
    claim_job_dir(str(tmp_path / "job"), config)
    assert read_job_config(str(tmp_path / "job")) == config


def test_a_job_directory_of_other_settings_is_refused_and_kept(tmp_path: Path) -> None:
    job = str(tmp_path / "job")
    claim_job_dir(job, ResolvedConfig(margin=0.2, seed=1))
    with pytest.raises(
        InputError, match=r"margin: stored 0.2, requested 0.5; seed: stored 1, requested 2; choose"
    ):
        claim_job_dir(job, ResolvedConfig(margin=0.5, seed=2))
    assert read_job_config(job).margin == 0.2


def test_what_does_not_change_the_weights_may_differ(tmp_path: Path) -> None:
    claim_job_dir(str(tmp_path), ResolvedConfig())
    claim_job_dir(str(tmp_path), ResolvedConfig(checkpoint_every_s=1.5, corrupt_records_budget=99))


def test_resolved_settings_are_accepted_as_settings(features: Features, tmp_path: Path) -> None:
    resolved = resolve_config(TrainConfig(batch_size=16), features)
    claim_job_dir(str(tmp_path), resolved)
    values = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert resolve_config(TrainConfig(**values), features) == resolved


def test_a_directory_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no training run; start one with"):
        read_job_config(str(tmp_path))


def test_the_directory_of_a_search_is_no_training(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("algorithm: bayesian\nspace.encoder: dense\n")
    with pytest.raises(InputError, match=r"config.yaml is not of a training; give .*/trials/0"):
        read_job_config(str(tmp_path))


def test_other_features_are_named_as_such(tmp_path: Path) -> None:
    """The difference of two digests alone does not say what it means."""
    claim_job_dir(str(tmp_path), ResolvedConfig(content_sha256="1"))
    with pytest.raises(InputError, match=r"content_sha256: .*; the features are others, or have"):
        claim_job_dir(str(tmp_path), ResolvedConfig(content_sha256="2"))
