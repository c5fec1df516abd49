"""Frames of shards in one array: equal to a plain concatenation."""

import json
from pathlib import Path

import numpy as np
import pytest

from beam_features.schema.silence import silence_level
from dem.errors import InputError, JobError
from tests.trainer.corpora import allocate
from tests.trainer.plain_pairs import PlainCorpus
from tests.trainer.synthetic import SPEC, node_strip, write_strips
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.store.fill import Frames, expected_bytes, fill

SHARDS = [
    [  # two sensors by turns, as the feature job writes them
        node_strip("ex1", "node1", 0, 4),
        node_strip("ex1", "node2", 0, 2),
        node_strip("ex1", "node1", 4, 2),
        node_strip("ex1", "node2", 5, 3),
    ],
    [node_strip("ex2", "node3", 7, 5)],
    [],
    [node_strip(f"ex{k}", "node1", 0, 3) for k in (3, 4)],
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_strips(tmp_path / "features", SHARDS)


@pytest.fixture
def features(directory: Path) -> Features:
    return open_features(str(directory))


def say_tiles(directory: Path, tiles: int) -> Features:
    """Let dataset_info.json say another number of tiles."""
    path = directory / "dataset_info.json"
    info = json.loads(path.read_text())
    info["partitions"]["train"]["tiles"] = tiles
    path.write_text(json.dumps(info))
    return open_features(str(directory))


def plain_frames() -> list[list[float]]:
    silence = silence_level(SPEC)
    shards = [PlainCorpus(shard, silence).frames for shard in SHARDS if shard]
    return [list(frame.values) for frames in shards for frame in frames]


def test_frames_equal_a_plain_concatenation(features: Features) -> None:
    frames, index = fill(features, ["train"], CorruptRecords(0), allocate)
    assert frames.tolist() == plain_frames()
    contexts = ["node1_ex1", "node2_ex1", "node2_ex1", "node3_ex2", "node1_ex3", "node1_ex4"]
    assert index.contexts.as_list() == contexts
    assert (index.first // SPEC.tile_frames).tolist() == [0, 6, 8, 11, 16, 19, 22]
    assert (index.time // SPEC.tile_frames).tolist() == [0, 0, 5, 7, 0, 0]
    assert expected_bytes(features, ["train"]) == frames.nbytes


def test_partitions_follow_each_other(features: Features) -> None:
    """Also one that is named twice."""
    once, _ = fill(features, ["train"], CorruptRecords(0), allocate)
    twice, index = fill(features, ["train", "train"], CorruptRecords(0), allocate)
    np.testing.assert_array_equal(twice, np.concatenate([once, once]))
    assert len(index.labels) == 44
    nothing, index = fill(features, [], CorruptRecords(0), allocate)
    assert (nothing.shape, len(index.labels)) == ((0, SPEC.n_mels), 0)


def test_the_array_is_the_one_that_was_allocated(features: Features) -> None:
    allocated: list[Frames] = []

    def remember(shape: tuple[int, int]) -> Frames:
        allocated.append(allocate(shape))
        return allocated[-1]

    frames, _ = fill(features, ["train"], CorruptRecords(0), remember)
    assert [array.shape for array in allocated] == [(22 * SPEC.tile_frames, SPEC.n_mels)]
    assert np.shares_memory(frames, allocated[0])


@pytest.mark.parametrize(("tiles", "found"), [(21, "more than"), (23, "22, not")])
def test_another_number_of_tiles_than_counted_is_refused(
    directory: Path, tiles: int, found: str
) -> None:
    message = (
        rf"the shards of train in {directory} hold {found} the {tiles} tiles that "
        r"dataset_info\.json counts; copy them again, or make the features again"
    )
    with pytest.raises(InputError, match=message):
        fill(say_tiles(directory, tiles), ["train"], CorruptRecords(0), allocate)


def test_corrupt_records_are_skipped(directory: Path) -> None:
    shard = directory / "train-00000-of-00004.tfrecord"
    data = bytearray(shard.read_bytes())
    data[500] ^= 1  # in the first strip, of four tiles
    shard.write_bytes(data)
    features, corrupt = open_features(str(directory)), CorruptRecords(1)
    frames, index = fill(features, ["train"], corrupt, allocate)
    assert frames.shape == (18 * SPEC.tile_frames, SPEC.n_mels)
    assert index.first[-1] == len(frames)
    assert len(index.labels) == 18
    node2 = 5 * SPEC.tile_frames  # context by first appearance
    assert frames[:node2].tolist() == plain_frames()[6 * SPEC.tile_frames :][:node2]
    assert corrupt.count == 1
    with pytest.raises(JobError, match=rf"corrupt record in {shard} at byte 0: .*budget=0"):
        fill(features, ["train"], CorruptRecords(0), allocate)
