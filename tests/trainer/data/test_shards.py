"""Damage in shards: what is skipped, how it is counted, and when it is too much."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beam_features.job.tfrecord import frame_record
from beam_features.schema.strip import encode_strip
from dem.errors import JobError
from tests.trainer.corpora import corpus_of
from tests.trainer.synthetic import SPEC, node_strip, write_strips
from trainer.config import TrainConfig
from trainer.data.features import open_features
from trainer.data.shards import CorruptRecords, read_strips
from trainer.train.input import host_cut
from trainer.train.run import train

STRIPS = [node_strip(f"ex{k}", "node1", 0, 3) for k in range(5)]
RECORD = len(frame_record(encode_strip(STRIPS[0])))  # bytes; all are equally long
Damage = Callable[[bytes], bytes]


def flipped(place: int) -> Damage:
    return lambda data: data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def without_log_mel(data: bytes) -> bytes:
    return data[: 2 * RECORD] + frame_record(b"") + data[3 * RECORD :]


def of_other_shape(data: bytes) -> bytes:
    strip = node_strip("ex2", "node1", 0, 3)
    object.__setattr__(strip, "log_mel", strip.log_mel[:, :-1])
    return data[: 2 * RECORD] + frame_record(encode_strip(strip)) + data[3 * RECORD :]


DAMAGES = {
    "a byte of data": (flipped(2 * RECORD + 500), [0, 1, 3, 4], 1),
    "two records": (
        lambda d: flipped(500)(flipped(RECORD + 9)(flipped(4 * RECORD - 9)(d))),
        [2, 4],
        3,
    ),
    "a byte of a length": (flipped(2 * RECORD + 1), [0, 1], 2),
    "truncated in a record": (lambda data: data[: 2 * RECORD + 500], [0, 1], 1),
    "truncated in a length": (lambda data: data[: 2 * RECORD + 5], [0, 1], 1),
    "no columns": (without_log_mel, [0, 1, 3, 4], 1),
    "another shape": (of_other_shape, [0, 1, 3, 4], 1),
    "none": (lambda data: data, [0, 1, 2, 3, 4], 0),
}


@pytest.mark.parametrize(("damage", "readable", "count"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_records_are_skipped_and_counted_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Damage,
    readable: list[int],
    count: int,
) -> None:
    shard = write_strips(tmp_path / "features", [STRIPS]) / "train-00000-of-00001.tfrecord"
    shard.write_bytes(damage(shard.read_bytes()))
    corrupt = CorruptRecords(budget=count)
    for _ in range(2):
        strips = list(read_strips(str(shard), SPEC.tile_shape, corrupt))
        assert [strip.session_id for strip in strips] == [f"ex{k}" for k in readable]
    assert corrupt.count == count
    assert caplog.text.count(f"skipped corrupt record in {shard}") == count
    if count:
        with pytest.raises(JobError, match=r"00000-of-00001.* more than corrupt_records_budget="):
            list(read_strips(str(shard), SPEC.tile_shape, CorruptRecords(count - 1)))


def test_batches_around_damage_are_the_same_every_time_and_when_resumed(tmp_path: Path) -> None:
    shards = [[node_strip(f"ex{k}{j}", "node1", 0, 6) for j in range(4)] for k in range(3)]
    directory = write_strips(tmp_path / "features", shards)
    shard = directory / "train-00001-of-00003.tfrecord"
    shard.write_bytes(flipped(700)(shard.read_bytes()))
    features = open_features(str(directory))

    def batches(first_step: int) -> list[np.ndarray]:
        corpus = corpus_of(features, batch_size=8, corrupt_records_budget=1)
        assert (corpus.corrupt.count, corpus.pairs.draw.n_anchors) == (1, 11 * 6)
        cut = host_cut(corpus.store)
        pairs = corpus.pairs.batches((first_step, 20), (1, 0, 1), cut)
        return [batch["tiles"] for batch in pairs.as_numpy_iterator()]

    np.testing.assert_array_equal(batches(0), batches(0))
    np.testing.assert_array_equal(batches(0)[7:], batches(7))


SETTINGS = {"batch_size": 8, "epochs": 1, "embedding_size": 8, "projection_size": 4}


@pytest.fixture
def damaged_twice(tmp_path: Path) -> str:
    """The damage lies behind the strips that are read at the start, so training meets it."""
    directory = write_strips(tmp_path / "features", [STRIPS * 8, STRIPS])
    shard = directory / "train-00001-of-00002.tfrecord"
    shard.write_bytes(flipped(2 * RECORD + 500)(flipped(700)(shard.read_bytes())))
    return str(directory)


def test_a_run_ends_with_the_name_of_the_shard_when_the_budget_is_spent(
    tmp_path: Path, damaged_twice: str
) -> None:
    config = TrainConfig(corrupt_records_budget=1, **SETTINGS)
    with pytest.raises(JobError, match=r"train-00001-of-00002\.tfrecord at byte .*budget=1"):
        train(damaged_twice, str(tmp_path / "job"), config, terminated=lambda: False)


@pytest.mark.slow
def test_a_run_within_the_budget_tells_what_it_skipped_and_a_stopped_one_goes_on_with_a_higher(
    tmp_path: Path, damaged_twice: str
) -> None:
    job = str(tmp_path / "job")
    config = TrainConfig(corrupt_records_budget=1, **SETTINGS)
    with pytest.raises(JobError):
        train(damaged_twice, job, config, terminated=lambda: False)
    config = replace(config, corrupt_records_budget=2)
    assert train(damaged_twice, job, config, terminated=lambda: False)["corrupt_records"] == 2
