"""Every tile of some partitions, pools of them, and the checks before a run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dem.errors import InputError, JobError
from tests.trainer.synthetic import SPEC, node_strip, write_features, write_strips
from trainer.data.checks import require_audible, require_shards
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import retrieval_pool, tile_batches

PARTITIONS = ["validation", "test"]


def quiet(features: Features) -> Features:
    """The same data where every value counts as silence."""
    loud_spec = replace(SPEC, log_offset=1e6)
    return replace(features, info=replace(features.info, feature_spec=loud_spec))


def test_tile_batches_give_every_tile_once_with_its_columns(features: Features) -> None:
    """Songs of six tiles are whole; shards have 5 and 4, then 6 and 6 of them."""
    tiles = list(tile_batches(features, PARTITIONS, CorruptRecords(0), batch_size=20))
    assert [len(batch.labels) for batch in tiles] == [24, 6, 24, 24, 12, 24, 12]
    keys = [key for batch in tiles for key in zip(batch.recording_ids, batch.start_ms, strict=True)]
    songs = [f"validation/{i}" for i in range(9)] + [f"test/{i}" for i in range(12)]
    assert sorted(keys) == sorted((song, 160 * tile) for song in songs for tile in range(6))
    for batch in tiles:
        index = [int(name.split("/")[1]) for name in batch.recording_ids]
        assert batch.labels == [i % 3 for i in index]
        assert batch.context_ids == batch.session_ids == batch.recording_ids
        assert batch.log_mel.shape == (len(index), *SPEC.tile_shape)
        assert batch.log_mel.dtype == np.float16
        assert batch.audible.all()


def test_the_size_of_batches_does_not_matter(features: Features) -> None:
    one, other = (
        np.concatenate([batch.log_mel for batch in batches])
        for batches in (
            tile_batches(features, PARTITIONS, CorruptRecords(0), batch_size=size)
            for size in (1, 1000)
        )
    )
    np.testing.assert_array_equal(one, other)


def test_silent_tiles_are_told(tmp_path: Path, features: Features) -> None:
    strip = node_strip("ex1", "node1", 0, 4)
    strip.log_mel[1:3] = np.log(SPEC.log_offset)
    directory = write_strips(tmp_path / "features", [[strip]])
    (batch,) = tile_batches(open_features(str(directory)), ["train"], CorruptRecords(0))
    assert batch.audible.tolist() == [True, False, False, True]
    for batch in tile_batches(quiet(features), ["test"], CorruptRecords(0)):
        assert not batch.audible.any()


def test_a_corrupt_record_ends_it_with_the_name_of_its_shard(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 4})
    shard = directory / "train-00001-of-00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 4] ^= 255
    shard.write_bytes(data)
    features = open_features(str(directory))
    with pytest.raises(
        JobError, match=rf"corrupt record in {shard} at byte 0: corrupted record at"
    ):
        list(tile_batches(features, ["train"], CorruptRecords(0)))
    tiles = list(tile_batches(features, ["train"], CorruptRecords(1)))
    names = {name for batch in tiles for name in batch.recording_ids}
    assert names == {"train/0", "train/2", "train/3"}


def test_retrieval_pool_takes_a_few_tiles_of_each_strip(features: Features) -> None:
    pool = retrieval_pool(features, ["validation"], tiles_per_strip=4)
    assert pool.log_mel.shape == (36, *SPEC.tile_shape)
    contexts, counts = np.unique(pool.contexts, return_counts=True)
    assert contexts.tolist() == [f"validation/{i}" for i in range(9)]
    assert counts.tolist() == [4] * 9
    assert pool.recordings.tolist() == pool.contexts.tolist()  # a song is one recording
    assert len(retrieval_pool(features, ["validation"], size=10).contexts) == 12  # whole strips
    assert len(retrieval_pool(features, []).contexts) == 0


def test_unknown_partition_is_named(features: Features) -> None:
    with pytest.raises(
        InputError, match=r"no partition 'fold9' in .*; it has: train, validation, test"
    ):
        list(tile_batches(features, ["fold9"], CorruptRecords(0)))


def test_unfinished_features_are_refused(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 2})
    (directory / "dataset_info.json").unlink()
    with pytest.raises(InputError, match="holds no finished features; make them with"):
        open_features(str(directory))


def test_silent_partitions_are_refused_for_validation(features: Features) -> None:
    require_audible(features, ["validation"], CorruptRecords(0))
    with pytest.raises(InputError, match=r"validation of .* hold no audible tile; choose other"):
        require_audible(quiet(features), ["validation"], CorruptRecords(0))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 4})
    (directory / "train-00001-of-00002.tfrecord").unlink()
    features = open_features(str(directory))
    with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord does not exist; copy it"):
        require_shards(features, ["train"])
    with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord does not exist; copy it"):
        list(tile_batches(features, ["train"], CorruptRecords(0)))
