"""What a kill can leave of a checkpoint is never taken for one."""

from pathlib import Path

import pytest
import tensorflow as tf

from dem.errors import JobError
from trainer.train.checkpoints import Checkpoints

VALUES = (3.0, 5.0, 7.0)


def checkpoints_of(variable: tf.Variable, directory: Path, *, is_chief: bool = True) -> Checkpoints:
    return Checkpoints(tf.train.Checkpoint(value=variable), str(directory), is_chief=is_chief)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three saves, of which the last two are kept."""
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, tmp_path)
    assert not checkpoints.restore_newest()
    for number in VALUES:
        value.assign(tf.fill([1000], number))
        checkpoints.save()
    return tmp_path


def restored(directory: Path) -> float:
    value = tf.Variable(tf.zeros(1000))
    assert checkpoints_of(value, directory).restore_newest()
    return float(value[-1])


def test_the_newest_is_restored(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert restored(directory) == VALUES[-1]
    assert sorted(path.name for path in directory.glob("*.index")) == [
        "ckpt-2.index",
        "ckpt-3.index",
    ]
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize("file", ["ckpt-3.index", "ckpt-3.data-00000-of-00001"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_corrupt_one_is_reported_and_the_previous_one_restored(
    directory: Path, caplog: pytest.LogCaptureFixture, file: str, damage: str
) -> None:
    path = directory / file
    data = path.read_bytes()
    middle = len(data) // 2
    flipped = data[:middle] + bytes([data[middle] ^ 255]) + data[middle + 1 :]
    path.write_bytes({"truncated": data[:middle], "empty": b"", "flipped": flipped}[damage])
    assert restored(directory) == VALUES[-2]
    assert "ckpt-3 is corrupt (" in caplog.text


def test_the_next_save_replaces_the_damaged_one_and_not_the_good_one(directory: Path) -> None:
    (directory / "ckpt-3.index").write_bytes(b"")
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, directory)
    checkpoints.restore_newest()
    value.assign(tf.fill([1000], 9.0))
    checkpoints.save()
    assert restored(directory) == 9.0
    assert (directory / "ckpt-2.index").exists()


def test_without_a_readable_one_nothing_is_started_anew(directory: Path) -> None:
    for path in directory.glob("*.index"):
        path.write_bytes(b"")
    with pytest.raises(JobError, match=r"no checkpoint in .* can be read; restore one from"):
        restored(directory)


@pytest.mark.parametrize(
    "name", ["run[lr=0.1]", "a\\b", "[]", "[", "r*n?", "{a,b}", "100% #1 ü", "new\nline"]
)
def test_any_name_of_a_directory_will_do(tmp_path: Path, name: str) -> None:
    """TensorFlow takes it for a pattern; what that matches stays as it is."""
    parent = tmp_path / name
    neighbours = [tmp_path / "runl" / "checkpoints", tmp_path / "ran1" / "checkpoints"]
    for directory in (*neighbours, parent / "checkpoints"):
        value = tf.Variable(tf.zeros(1000))
        checkpoints = checkpoints_of(value, directory)
        assert not checkpoints.restore_newest()
        for number in VALUES if directory.parent == parent else (1.0,):
            value.assign(tf.fill([1000], number))
            checkpoints.save()
    assert restored(parent / "checkpoints") == VALUES[-1]
    assert len(list((parent / "checkpoints").iterdir())) == 4
    for directory in neighbours:
        assert restored(directory) == 1.0


def test_a_save_beside_a_corrupt_one_keeps_two_good_ones(directory: Path) -> None:
    (directory / "ckpt-3.index").write_bytes(b"")
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, directory)
    assert checkpoints.restore_newest()
    for number in (8.0, 9.0):
        value.assign(tf.fill([1000], number))
        checkpoints.save()
    assert sorted(path.stem for path in directory.glob("*.index")) == ["ckpt-3", "ckpt-4"]
    (directory / "ckpt-4.index").write_bytes(b"")
    assert restored(directory) == 8.0


def test_the_state_file_of_version_0_2_is_deleted(directory: Path) -> None:
    (directory / "checkpoint").write_text('model_checkpoint_path: "ckpt-1"\n')
    assert restored(directory) == VALUES[-1]
    assert not (directory / "checkpoint").exists()


def test_leftovers_of_a_kill_are_neither_read_nor_kept(directory: Path) -> None:
    (directory / "ckpt-4_temp").mkdir()
    leftovers = ("ckpt-4_temp/part-0", "ckpt-4.data-00000-of-00001", "checkpoint.tmp0a1b")
    leftovers = (*leftovers, f"ckpt-3.index.{32 * 'a'}.tmp")
    for name in leftovers:
        (directory / name).write_bytes(b"half")
    (directory / "notes.txt").write_text("not ours")
    assert restored(directory) == VALUES[-1]
    assert not any((directory / name).exists() for name in leftovers)
    assert (directory / "notes.txt").exists()


def test_others_than_the_chief_read_and_leave_no_trace(directory: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    value = tf.Variable(tf.zeros(1000))
    other = checkpoints_of(value, directory, is_chief=False)
    assert other.restore_newest()
    assert float(value[0]) == VALUES[-1]
    other.save()
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before
