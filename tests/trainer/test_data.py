from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_features.schema.errors import InputError
from tests.trainer.synthetic import SPEC, write_features
from trainer.data import (
    Features,
    open_features,
    pair_batches,
    require_opposites,
    retrieval_pool,
    tile_batches,
)


def pairs(features: Features, *, seed: int = 0, epoch: int = 0) -> tf.data.Dataset:
    return pair_batches(
        features, ["train"], neighbourhood_s=0.5, batch_size=16, seed=seed, epoch=epoch
    )


def anchors(dataset: tf.data.Dataset, n: int) -> np.ndarray:
    return np.stack([batch["anchors"] for batch in dataset.take(n).as_numpy_iterator()])


def test_batches_have_the_promised_shapes(features: Features) -> None:
    (batch,) = pairs(features).take(1).as_numpy_iterator()
    assert batch["anchors"].shape == batch["neighbours"].shape == (16, *SPEC.tile_shape)
    assert batch["anchors"].dtype == batch["neighbours"].dtype == np.float16
    assert batch["sessions"].shape == (16,)


def test_seed_and_epoch_decide_the_batches(features: Features) -> None:
    first = anchors(pairs(features), 5)
    np.testing.assert_array_equal(first, anchors(pairs(features), 5))
    assert not np.array_equal(first, anchors(pairs(features, epoch=1), 5))
    assert not np.array_equal(first, anchors(pairs(features, seed=1), 5))


def test_skipping_batches_leads_to_the_same_ones(features: Features) -> None:
    np.testing.assert_array_equal(
        anchors(pairs(features), 12)[7:], anchors(pairs(features).skip(7), 5)
    )


def test_a_pass_makes_every_tile_an_anchor_once(features: Features) -> None:
    """24 songs of 6 tiles are 144 anchors, 9 batches of 16."""
    batches = list(pairs(features).take(9).as_numpy_iterator())
    _, counts = np.unique(np.concatenate([b["sessions"] for b in batches]), return_counts=True)
    assert counts.tolist() == [6] * 24


def test_pairs_are_of_one_song(features: Features) -> None:
    """A song's own spectrum is 0.5 wide, frames vary by 0.5 / sqrt(16) in the mean of a tile."""
    (batch,) = pairs(features).batch(9).take(1).as_numpy_iterator()
    spectra = [
        batch[name].reshape(144, *SPEC.tile_shape).mean(axis=1)
        for name in ("anchors", "neighbours")
    ]
    apart = np.abs(spectra[0] - spectra[1]).mean()
    others = np.abs(spectra[0] - np.roll(spectra[1], 1, axis=0)).mean()
    assert apart < 0.2
    assert others > 0.5


def test_tile_batches_give_every_tile_once_with_its_columns(features: Features) -> None:
    tiles = list(tile_batches(features, ["validation", "test"], batch_size=50).as_numpy_iterator())
    assert [len(batch["label"]) for batch in tiles] == [50, 50, 26]
    keys = {
        (recording.decode(), start)
        for batch in tiles
        for recording, start in zip(batch["recording_id"], batch["start_ms"], strict=True)
    }
    songs = [f"validation/{i}" for i in range(9)] + [f"test/{i}" for i in range(12)]
    assert keys == {(song, 160 * tile) for song in songs for tile in range(6)}
    for batch in tiles:
        index = [int(name.decode().split("/")[1]) for name in batch["recording_id"]]
        assert batch["label"].tolist() == [i % 3 for i in index]
        np.testing.assert_array_equal(batch["context_id"], batch["recording_id"])


def test_retrieval_pool_takes_a_few_tiles_of_each_strip(features: Features) -> None:
    pool = retrieval_pool(features, ["validation"], tiles_per_strip=4)
    assert pool.log_mel.shape == (36, *SPEC.tile_shape)
    contexts, counts = np.unique(pool.contexts, return_counts=True)
    assert contexts.tolist() == [f"validation/{i}" for i in range(9)]
    assert counts.tolist() == [4] * 9
    assert len(retrieval_pool(features, ["validation"], size=10).contexts) == 12  # whole strips
    assert len(retrieval_pool(features, []).contexts) == 0


def test_unknown_partition_is_named(features: Features) -> None:
    with pytest.raises(
        InputError, match=r"no partition 'fold9' in .*; it has: train, validation, test"
    ):
        features.shard_uris(["fold9"])


def test_unfinished_features_are_refused(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 2})
    (directory / "dataset_info.json").unlink()
    with pytest.raises(InputError, match="holds no finished features; make them with"):
        open_features(str(directory))


def test_partitions_without_two_sessions_that_are_heard_are_refused(
    tmp_path: Path, features: Features
) -> None:
    require_opposites(features, ["test"])
    lone = open_features(str(write_features(tmp_path / "lone", {"train": 1})))
    with pytest.raises(InputError, match=r"1 sessions of train in .* are not silent; a triplet"):
        require_opposites(lone, ["train"])
    loud_spec = replace(SPEC, log_offset=1e6)
    quiet = replace(features, info=replace(features.info, feature_spec=loud_spec))
    with pytest.raises(InputError, match=r"0 sessions of train"):
        require_opposites(quiet, ["train"])


def test_a_second_pass_has_an_order_of_its_own(features: Features) -> None:
    """A pass is 144 pairs, 9 batches of 16; which songs meet in a batch must change."""
    batches = list(pairs(features).take(18).as_numpy_iterator())
    first, second = (np.stack([b["sessions"] for b in batches[i : i + 9]]) for i in (0, 9))
    assert sorted(first.ravel()) == sorted(second.ravel())
    assert (first == second).mean() < 0.3
