import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from trainer.data.pairs import PairSource, side_by_side

from dem.errors import InputError, JobError
from tests.trainer.synthetic import SPEC, node_strip, write_features, write_strips
from trainer.data.checks import require_audible, require_pairs, require_shards
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.data.tiles import retrieval_pool, tile_batches


@pytest.fixture(scope="module")
def source(features: Features) -> PairSource:
    return PairSource(features, ["train"], neighbourhood_s=0.5, batch_size=16)


def anchors(dataset: tf.data.Dataset, n: int) -> np.ndarray:
    return np.stack([batch["anchors"] for batch in dataset.take(n).as_numpy_iterator()])


def test_batches_have_the_promised_shapes(source: PairSource) -> None:
    (batch,) = source.batches(0, 0).take(1).as_numpy_iterator()
    assert batch["anchors"].shape == batch["neighbours"].shape == (16, *SPEC.tile_shape)
    assert batch["anchors"].dtype == batch["neighbours"].dtype == np.float16
    assert batch["sessions"].shape == (16,)


def test_seed_and_epoch_decide_the_batches(source: PairSource) -> None:
    """Also where another source gives them."""
    first = anchors(source.batches(0, 0), 5)
    np.testing.assert_array_equal(first, anchors(source.batches(0, 0), 5))
    np.testing.assert_array_equal(first, anchors(replace(source).batches(0, 0), 5))
    assert not np.array_equal(first, anchors(source.batches(0, 1), 5))
    assert not np.array_equal(first, anchors(source.batches(1, 0), 5))


def test_skipping_batches_leads_to_the_same_ones(source: PairSource) -> None:
    np.testing.assert_array_equal(
        anchors(source.batches(0, 0), 12)[7:], anchors(source.batches(0, 0).skip(7), 5)
    )


def test_a_pass_makes_every_tile_an_anchor_once(source: PairSource) -> None:
    """24 songs of 6 tiles are 144 anchors, 9 batches of 16."""
    batches = list(source.batches(0, 0).take(9).as_numpy_iterator())
    _, counts = np.unique(np.concatenate([b["sessions"] for b in batches]), return_counts=True)
    assert counts.tolist() == [6] * 24


def test_pairs_are_of_one_song(source: PairSource) -> None:
    """A song's own spectrum is 0.5 wide, frames vary by 0.5 / sqrt(16) in the mean of a tile."""
    (batch,) = source.batches(0, 0).batch(9).take(1).as_numpy_iterator()
    spectra = [
        batch[name].reshape(144, *SPEC.tile_shape).mean(axis=1)
        for name in ("anchors", "neighbours")
    ]
    apart = np.abs(spectra[0] - spectra[1]).mean()
    others = np.abs(spectra[0] - np.roll(spectra[1], 1, axis=0)).mean()
    assert apart < 0.2
    assert others > 0.5


def test_tile_batches_give_every_tile_once_with_its_columns(features: Features) -> None:
    tiles = list(tile_batches(features, ["validation", "test"], CorruptRecords(0), batch_size=50))
    assert [len(batch.labels) for batch in tiles] == [54, 54, 18]  # songs of six tiles are whole
    keys = {key for batch in tiles for key in zip(batch.recording_ids, batch.start_ms, strict=True)}
    songs = [f"validation/{i}" for i in range(9)] + [f"test/{i}" for i in range(12)]
    assert keys == {(song, 160 * tile) for song in songs for tile in range(6)}
    for batch in tiles:
        index = [int(name.split("/")[1]) for name in batch.recording_ids]
        assert batch.labels == [i % 3 for i in index]
        assert batch.context_ids == batch.session_ids == batch.recording_ids
        assert batch.audible.all()


def test_a_damaged_record_ends_embedding_with_the_name_of_its_shard(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 4})
    shard = directory / "train-00001-of-00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[len(data) // 4] ^= 255
    shard.write_bytes(data)
    with pytest.raises(
        JobError, match=rf"corrupt record in {shard} at byte 0: corrupted record at"
    ):
        list(tile_batches(open_features(str(directory)), ["train"], CorruptRecords(0)))


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
        features.shard_uris(["fold9"])


def test_unfinished_features_are_refused(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 2})
    (directory / "dataset_info.json").unlink()
    with pytest.raises(InputError, match="holds no finished features; make them with"):
        open_features(str(directory))


def test_partitions_without_two_sessions_that_are_heard_are_refused(
    tmp_path: Path, features: Features
) -> None:
    require_pairs(features, ["test"], ["time"], CorruptRecords(0))
    lone = open_features(str(write_features(tmp_path / "lone", {"train": 1})))
    with pytest.raises(InputError, match=r"1 sessions of train in .* are audible, but a triplet"):
        require_pairs(lone, ["train"], ["time"], CorruptRecords(0))
    loud_spec = replace(SPEC, log_offset=1e6)
    quiet = replace(features, info=replace(features.info, feature_spec=loud_spec))
    with pytest.raises(InputError, match=r"0 sessions of train"):
        require_pairs(quiet, ["train"], ["time"], CorruptRecords(0))


def test_silent_partitions_are_refused_for_validation(features: Features) -> None:
    require_audible(features, ["validation"], CorruptRecords(0))
    quiet = replace(
        features, info=replace(features.info, feature_spec=replace(SPEC, log_offset=1e6))
    )
    with pytest.raises(InputError, match=r"validation of .* hold no audible tile; choose other"):
        require_audible(quiet, ["validation"], CorruptRecords(0))


def test_a_second_pass_has_an_order_of_its_own(source: PairSource) -> None:
    """A pass is 144 pairs, 9 batches of 16; which songs meet in a batch must change."""
    batches = list(source.batches(0, 0).take(18).as_numpy_iterator())
    first, second = (np.stack([b["sessions"] for b in batches[i : i + 9]]) for i in (0, 9))
    assert sorted(first.ravel()) == sorted(second.ravel())
    assert (first == second).mean() < 0.3


# Positives at other sensors: two sessions, a gap at node2, a node of which nothing is simultaneous

NODES = [
    node_strip("ex1", "node1", 0, 6),
    node_strip("ex1", "node2", 0, 2),
    node_strip("ex1", "node2", 4, 2),
    node_strip("ex1", "node1", 64, 3),
    node_strip("ex2", "node1", 0, 5),
    node_strip("ex2", "node3", 0, 5),
    node_strip("ex3", "node1", 0, 4),
]


def test_strips_are_grouped_by_session_and_span_of_the_timeline() -> None:
    groups = [[(s.sensor_id, s.first_tile) for s in group] for group in side_by_side(NODES)]
    assert groups == [
        [("node1", 0), ("node2", 0), ("node2", 4)],
        [("node1", 64)],
        [("node1", 0), ("node3", 0)],
        [("node1", 0)],
    ]


def test_a_group_is_bounded() -> None:
    many = [node_strip("artist", f"track{k}", 0, 1) for k in range(150)]
    assert [len(group) for group in side_by_side(many)] == [64, 64, 22]


def test_positives_at_sensors_are_the_same_frames_at_another_node(tmp_path: Path) -> None:
    """Values tell the frame, labels the node: node1 is 1, node2 is 2, node3 is 0."""
    nodes = open_features(str(write_strips(tmp_path / "nodes", [NODES[:4], NODES[4:]])))
    source = PairSource(nodes, ["train"], 0.5, batch_size=8, positives=["sensor"])
    batches = source.batches(seed=0, epoch=0)
    met = set()
    for batch in batches.take(20).as_numpy_iterator():
        np.testing.assert_array_equal(batch["anchors"], batch["neighbours"])
        met |= set(map(tuple, batch["labels"].tolist()))
    assert met == {(1, 2), (2, 1), (1, 0), (0, 1)}


def test_data_of_one_sensor_at_a_time_are_refused_for_positives_at_sensors(
    tmp_path: Path, features: Features
) -> None:
    nodes = open_features(str(write_strips(tmp_path / "nodes", [NODES])))
    require_pairs(nodes, ["train"], ["time", "sensor"], CorruptRecords(0))
    with pytest.raises(InputError, match=r"no session of train in .* was recorded by two sensors"):
        require_pairs(features, ["train"], ["sensor"], CorruptRecords(0))


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", {"train": 4})
    (directory / "train-00001-of-00002.tfrecord").unlink()
    with pytest.raises(InputError, match=r"train-00001-of-00002\.tfrecord does not exist; copy it"):
        require_shards(open_features(str(directory)), ["train"])


def test_few_of_many_shards_are_open_at_once(tmp_path: Path) -> None:
    strips = [[node_strip(f"ex{shard}", "node1", 0, 4)] for shard in range(200)]
    many = open_features(str(write_strips(tmp_path / "many", strips)))
    batches = PairSource(many, ["train"], 0.5, batch_size=16).batches(seed=0, epoch=0)
    highest = 0
    for _ in batches.take(51):
        names = [os.path.realpath(path) for path in Path("/proc/self/fd").iterdir()]
        highest = max(highest, sum(name.endswith(".tfrecord") for name in names))
    assert highest <= 16
