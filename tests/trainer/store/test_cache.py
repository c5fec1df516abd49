"""Stores on disk: made once, found again, and made anew where something is wrong with them."""

import hashlib
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from dem.errors import InputError, JobError
from tests import processes
from tests.trainer.corpora import allocate
from tests.trainer.store.test_index import as_lists
from tests.trainer.synthetic import node_strip, write_features, write_strips
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.store.cache import map_frames, open_cached
from trainer.store.fill import Frames, fill
from trainer.store.index import Index

SHARDS = [[node_strip(f"ex{k}{j}", "node1", 9 * k, 3) for j in range(3)] for k in range(2)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_strips(tmp_path / "features", SHARDS)


@pytest.fixture
def features(directory: Path) -> Features:
    return open_features(str(directory))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


def open_in(cache: Path, features: Features, budget: int = 0) -> tuple[Frames, Index]:
    return open_cached(features, ["train"], CorruptRecords(budget), str(cache))


def home_of(cache: Path) -> Path:
    """The only store, and nothing but its lock beside it."""
    (home,) = (path for path in cache.iterdir() if path.is_dir())
    assert sorted(cache.iterdir()) == [home, home.with_suffix(".lock")]
    return home


def require_equal(found: tuple[Frames, Index], expected: tuple[Frames, Index]) -> None:
    np.testing.assert_array_equal(found[0], expected[0])
    assert as_lists(found[1]) == as_lists(expected[1])


def filled(features: Features) -> tuple[Frames, Index]:
    """What is read without a cache."""
    return fill(features, ["train"], CorruptRecords(9), allocate)


def replace_content(path: Path, content: bytes) -> None:
    """Write other bytes, as many, so that size and time remain."""
    about = path.stat()
    assert len(content) == about.st_size
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


def test_a_store_is_made_once(cache: Path, directory: Path, features: Features) -> None:
    """The second time no shard is read: they hold only zeros by then."""
    made = open_in(cache, features)
    require_equal(made, filled(features))
    frames, _ = made
    assert frames.dtype == np.float16
    about = (home_of(cache) / "frames").stat()
    assert about.st_size == frames.nbytes
    for shard in directory.glob("*.tfrecord"):
        replace_content(shard, bytes(shard.stat().st_size))
    require_equal(open_in(cache, features), made)
    again = (home_of(cache) / "frames").stat()
    assert (again.st_ino, again.st_mtime_ns) == (about.st_ino, about.st_mtime_ns)


def test_what_is_written_to_the_frames_stays_in_the_process(
    cache: Path, features: Features
) -> None:
    frames, index = open_in(cache, features)
    before = frames.copy()
    frames[0] = 7
    require_equal(open_in(cache, features), (before, index))


def test_other_shards_have_a_store_of_their_own(
    cache: Path, directory: Path, features: Features
) -> None:
    before, _ = open_in(cache, features)
    shard = directory / "train-00001-of-00002.tfrecord"
    shutil.copyfile(directory / "train-00000-of-00002.tfrecord", shard)
    os.utime(shard, ns=(0, 1))
    after = open_in(cache, features)
    require_equal(after, filled(features))
    assert not np.array_equal(before, after[0])
    assert sum(path.is_dir() for path in cache.iterdir()) == 2


def test_partitions_with_shards_of_one_size_and_time_are_not_confused(
    tmp_path: Path, cache: Path
) -> None:
    """As copies with times in seconds have them."""
    directory = write_features(tmp_path / "equal", {"train": 2, "test0": 2}, labelled=False)
    for shard in directory.glob("*.tfrecord"):
        os.utime(shard, ns=(10**18, 10**18))
    sizes = {shard.stat().st_size for shard in directory.glob("*.tfrecord")}
    assert len(sizes) == 1
    features = open_features(str(directory))
    one, other = (
        open_cached(features, [name], CorruptRecords(0), str(cache))[0]
        for name in ("train", "test0")
    )
    assert not np.array_equal(one, other)


def cut_frames(home: Path) -> None:
    os.truncate(home / "frames", 1000)


def flip_index(home: Path) -> None:
    data = bytearray((home / "index.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (home / "index.npz").write_bytes(data)


DAMAGES = {
    "truncated frames": cut_frames,
    "no frames": lambda home: (home / "frames").unlink(),
    "a flipped bit in the index": flip_index,
    "no index": lambda home: (home / "index.npz").unlink(),
    "no store.json": lambda home: (home / "store.json").unlink(),
    "an empty store.json": lambda home: (home / "store.json").write_text(""),
    "another store.json": lambda home: (home / "store.json").write_text("{}"),
    "a list in store.json": lambda home: (home / "store.json").write_text("[1]"),
    "an empty directory": lambda home: (shutil.rmtree(home), home.mkdir()),
    "nothing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_an_incomplete_store_is_made_anew(
    cache: Path, features: Features, damage: Callable[[Path], object]
) -> None:
    frames, index = open_in(cache, features)
    expected = frames.copy(), index  # nothing may read a file that is truncated
    damage(home_of(cache))
    require_equal(open_in(cache, features), expected)
    home_of(cache)


def test_leftovers_of_a_killed_process_are_removed(cache: Path, features: Features) -> None:
    expected = open_in(cache, features)
    home = home_of(cache)
    home.rename(home.with_name(f"{home.name}.k1ll3d.tmp"))
    require_equal(open_in(cache, features), expected)
    assert home_of(cache) == home


def test_those_who_come_at_once_make_one_store(cache: Path, features: Features) -> None:
    """Threads exclude each other as processes do: each has opened the lock for itself."""
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(lambda _: open_in(cache, features), range(4)))
    for store in stores:
        require_equal(store, filled(features))
    home_of(cache)


def test_corrupt_records_are_recalled_and_count(
    cache: Path, directory: Path, features: Features, caplog: pytest.LogCaptureFixture
) -> None:
    shard = directory / "train-00001-of-00002.tfrecord"
    data = bytearray(shard.read_bytes())
    data[300] ^= 1
    shard.write_bytes(data)
    with pytest.raises(JobError, match=rf"corrupt record in {shard} at byte 0: .*budget=0"):
        open_in(cache, features)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    for times in (1, 2):
        corrupt = CorruptRecords(1)
        frames, _ = open_cached(features, ["train"], corrupt, str(cache))
        assert len(frames) == 15 * 16
        assert [place[:2] for place in corrupt.places([str(shard)])] == [(0, 0)]
        assert caplog.text.count(f"skipped corrupt record in {shard} at byte 0: ") == times
    with pytest.raises(JobError, match=rf"corrupt record in {shard} at byte 0: .*budget=0"):
        open_in(cache, features)


def test_copied_features_share_a_store_and_name_their_own_shards(
    cache: Path, directory: Path, tmp_path: Path
) -> None:
    shard = "train-00001-of-00002.tfrecord"
    data = bytearray((directory / shard).read_bytes())
    data[300] ^= 1
    (directory / shard).write_bytes(data)
    copy = shutil.copytree(directory, tmp_path / "copy")
    open_in(cache, open_features(str(directory)), budget=1)
    with pytest.raises(JobError, match=rf"corrupt record in {copy / shard} at byte 0"):
        open_in(cache, open_features(str(copy)))
    home_of(cache)


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """Let the system refuse larger files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [4096, 18 * 16 * 16 * 2 - 1])
def test_a_full_disk_is_named_and_left_clean(cache: Path, features: Features, size: int) -> None:
    with (
        files_limited_to(size),
        pytest.raises(JobError, match=rf"cannot write to {cache}/.*/frames: File too large; free"),
    ):
        open_in(cache, features)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]
    require_equal(open_in(cache, features), filled(features))


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path, features: Features) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=rf"cannot write to {tmp_path}/file/.*: .*; free space or"):
        open_in(tmp_path / "file" / "cache", features)


def test_more_tiles_than_announced_leave_nothing(
    cache: Path, directory: Path, features: Features
) -> None:
    data = (directory / "train-00000-of-00002.tfrecord").read_bytes()
    (directory / "train-00001-of-00002.tfrecord").write_bytes(data * 2)
    with pytest.raises(InputError, match="hold more than the 18 tiles"):
        open_in(cache, features)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_frames_may_be_larger_than_the_memory(tmp_path: Path) -> None:
    size = 3 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with (tmp_path / "frames").open("wb") as file:
        file.truncate(size)
    frames = map_frames(tmp_path / "frames", (size // 256, 128))
    assert frames.nbytes == size
    assert frames[-1].tolist() == [0.0] * 128


@pytest.mark.slow
def test_a_process_that_is_killed_while_making_a_store_does_not_matter(
    tmp_path: Path, cache: Path
) -> None:
    """The one after it makes the store; of two at once, both get the same."""
    directory = write_features(tmp_path / "songs", {"train": 400}, tiles_per_song=60)
    words = ("tests.trainer.store.open_store", directory, cache)
    killed = processes.start(*words)
    while not list(cache.glob("*.tmp")):
        time.sleep(0.001)
        assert killed.poll() is None
    killed.kill()
    killed.communicate()
    (leftover,) = cache.glob("*.tmp")
    assert not (leftover / "store.json").exists()

    both = [processes.start(*words) for _ in range(2)]
    said = {process.communicate(timeout=100)[0].strip() for process in both}
    frames, _ = open_cached(open_features(str(directory)), ["train"], CorruptRecords(0), str(cache))
    assert said == {hashlib.sha256(frames.tobytes()).hexdigest()}
    home_of(cache)
