"""Where frames are kept, and what does not fit."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from dem.errors import InputError
from tests.trainer.corpora import allocate
from tests.trainer.synthetic import SPEC
from trainer.data.features import Features
from trainer.data.shards import CorruptRecords
from trainer.store import frames as module
from trainer.store.fill import fill
from trainer.store.frames import open_store

NAMES = ["train", "test"]


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_frames_are_those_of_the_shards(
    features: Features, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache_dir = None if place == "memory" else str(tmp_path)
    with caplog.at_level(logging.INFO):
        store = open_store(features, NAMES, CorruptRecords(0), cache_dir)
    frames, index = fill(features, NAMES, CorruptRecords(0), allocate)
    assert store.place == place
    assert store.frames.dtype == np.float16
    assert store.frames.shape == ((24 + 12) * 6 * SPEC.tile_frames, SPEC.n_mels)
    np.testing.assert_array_equal(store.frames, frames)
    np.testing.assert_array_equal(store.index.first, index.first)
    where = "memory" if place == "memory" else str(tmp_path)
    assert f"frames of train, test: 0 MiB in {where}, " in caplog.text


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_tensorflow_takes_the_frames_without_a_copy(
    features: Features, tmp_path: Path, place: str
) -> None:
    cache_dir = None if place == "memory" else str(tmp_path)
    store = open_store(features, NAMES, CorruptRecords(0), cache_dir)
    assert store.frames.ctypes.data % 64 == 0
    with tf.device("CPU:0"):
        tensor = tf.experimental.dlpack.from_dlpack(store.frames.__dlpack__())
    store.frames[5] = 7
    assert tensor[5].numpy().tolist() == [7.0] * SPEC.n_mels


def test_partitions_without_tiles_give_no_frames(features: Features, tmp_path: Path) -> None:
    for cache_dir in (None, str(tmp_path), str(tmp_path)):
        store = open_store(features, [], CorruptRecords(0), cache_dir)
        assert store.frames.shape == (0, SPEC.n_mels)


def test_what_does_not_fit_into_memory_is_refused(
    features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory on a disk is the remedy."""
    size = (24 + 12) * 6 * 16 * 16 * 2
    monkeypatch.setattr(module, "available_memory_bytes", lambda: int(size / 0.8) + 2)
    open_store(features, NAMES, CorruptRecords(0))
    monkeypatch.setattr(module, "available_memory_bytes", lambda: size)
    message = (
        rf"the frames of train, test in {features.uri} take 0\.0 GiB, more than 80% of the 0\.0 GiB"
        r" of memory that are available; give --cache-dir a directory on a local disk with so"
    )
    with pytest.raises(InputError, match=message):
        open_store(features, NAMES, CorruptRecords(0))
    assert open_store(features, NAMES, CorruptRecords(0), str(tmp_path)).place == "disk"
    monkeypatch.setattr(module, "available_memory_bytes", lambda: None)  # unknown
    assert open_store(features, NAMES, CorruptRecords(0)).place == "memory"
