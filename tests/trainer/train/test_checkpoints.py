"""What a kill can leave of a checkpoint is never taken for one; steps do not wait for the disk."""

import math
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import keras
import numpy as np
import pytest
import tensorflow as tf

from dem import storage
from dem.errors import InputError, JobError, Terminated
from tests.processes import error_in
from tests.trainer.jobs import train_words
from trainer.config import TrainConfig
from trainer.train.__main__ import main
from trainer.train.checkpoints import Checkpoints, copy_newest
from trainer.train.run import train

VALUES = (3.0, 5.0, 7.0)


def checkpoints_of(
    variable: tf.Variable, directory: Path, *, is_chief: bool = True, every_s: float = math.inf
) -> Checkpoints:
    return Checkpoints({"value": variable}, str(directory), is_chief=is_chief, every_s=every_s)


def save(checkpoints: Checkpoints, variable: tf.Variable, value: float) -> None:
    variable.assign(tf.fill(variable.shape, value))
    checkpoints.save()
    checkpoints.wait()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Three saves, of which the last two are kept."""
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, tmp_path)
    assert not checkpoints.restore_newest()
    for number in VALUES:
        save(checkpoints, value, number)
    return tmp_path


def restored(directory: Path) -> float:
    value = tf.Variable(tf.zeros(1000))
    assert checkpoints_of(value, directory).restore_newest()
    return float(value[-1])


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_newest_is_restored(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert restored(directory) == VALUES[-1]
    assert names_in(directory) == ["ckpt-2.npz", "ckpt-3.npz"]
    assert "WARNING" not in caplog.text


@pytest.mark.parametrize("damage", ["truncated", "empty", "zeros", "flipped", "without the end"])
def test_a_corrupt_one_is_reported_and_the_previous_one_restored(
    directory: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = directory / "ckpt-3.npz"
    data = path.read_bytes()
    middle = len(data) // 2
    damaged = {
        "truncated": data[:middle],
        "empty": b"",
        "zeros": bytes(len(data)),
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "without the end": data[:-1],
    }
    path.write_bytes(damaged[damage])
    assert restored(directory) == VALUES[-2]
    assert f"checkpoint {path} is corrupt (" in caplog.text


def test_no_wrong_byte_goes_unnoticed(tmp_path: Path) -> None:
    """Every byte of a file: it is reported, or the values are those that were saved."""
    variables = {name: tf.Variable([number]) for name, number in (("a", 1.0), ("b", 2.0))}
    good = Checkpoints(variables, str(tmp_path), is_chief=True, every_s=math.inf)
    good.save()
    good.wait()
    path = tmp_path / "ckpt-1.npz"
    data, refused = path.read_bytes(), 0
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 255]) + data[position + 1 :])
        found = {name: tf.Variable([0.0]) for name in variables}
        try:
            Checkpoints(found, str(tmp_path), is_chief=False, every_s=math.inf).restore_newest()
        except JobError:
            refused += 1
        else:
            assert {name: float(one[0]) for name, one in found.items()} == {"a": 1.0, "b": 2.0}
    assert refused > 0.5 * len(data)


def test_the_next_save_replaces_the_damaged_one_and_not_the_good_one(directory: Path) -> None:
    (directory / "ckpt-3.npz").write_bytes(b"")
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, directory)
    checkpoints.restore_newest()
    save(checkpoints, value, 9.0)
    assert restored(directory) == 9.0
    assert names_in(directory) == ["ckpt-2.npz", "ckpt-3.npz"]


def test_a_save_beside_a_corrupt_one_keeps_two_good_ones(directory: Path) -> None:
    (directory / "ckpt-3.npz").write_bytes(b"")
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, directory)
    assert checkpoints.restore_newest()
    for number in (8.0, 9.0):
        save(checkpoints, value, number)
    assert names_in(directory) == ["ckpt-3.npz", "ckpt-4.npz"]
    (directory / "ckpt-4.npz").write_bytes(b"")
    assert restored(directory) == 8.0


def test_without_a_readable_one_nothing_is_started_anew(directory: Path) -> None:
    for path in directory.iterdir():
        path.write_bytes(b"")
    with pytest.raises(JobError, match=r"no checkpoint in .* can be read; restore one from"):
        restored(directory)


@pytest.mark.parametrize(
    ("variables", "difference"),
    [
        ({"value": tf.zeros(999)}, r"value is float32 \[1000\] there and float32 \[999\] here"),
        ({"value": tf.zeros(1000, tf.float64)}, r"value is float32 \[1000\] there and float64"),
        ({"value": tf.zeros([10, 100])}, r"there and float32 \[10, 100\] here"),
        ({"value": tf.zeros(1000), "b": tf.zeros([])}, r"b is missing there and float32 \[\] here"),
        ({}, r"value is float32 \[1000\] there and missing here"),
    ],
)
def test_one_of_another_model_is_refused_and_not_taken_for_corrupt(
    directory: Path, variables: dict[str, tf.Tensor], difference: str
) -> None:
    before = names_in(directory)
    state = {name: tf.Variable(value) for name, value in variables.items()}
    with pytest.raises(InputError, match=f"ckpt-3.npz is of another model: .*{difference}"):
        Checkpoints(state, str(directory), is_chief=True, every_s=1.0).restore_newest()
    assert names_in(directory) == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int8", "bool", "uint64"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_every_type_and_shape_comes_back(
    tmp_path: Path, dtype: str, shape: tuple[int, ...]
) -> None:
    """NumPy itself knows no bfloat16."""
    values = tf.cast(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2, dtype)
    saved, found = keras.Variable(values, dtype=dtype), tf.Variable(tf.zeros_like(values))
    checkpoints = checkpoints_of(saved, tmp_path)
    checkpoints.save()
    checkpoints.wait()
    found.assign(tf.cast(tf.ones(shape), dtype))
    assert checkpoints_of(found, tmp_path).restore_newest()
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), values.numpy())


@pytest.mark.parametrize(
    "name", ["run[lr=0.1]", "a\\b", "[]", "[", "r*n?", "{a,b}", "100% #1 ü", "new\nline"]
)
def test_any_name_of_a_directory_will_do(tmp_path: Path, name: str) -> None:
    """Patterns elsewhere; what they match stays as it is."""
    parent = tmp_path / name
    neighbours = [tmp_path / "runl" / "checkpoints", tmp_path / "ran1" / "checkpoints"]
    for directory in (*neighbours, parent / "checkpoints"):
        value = tf.Variable(tf.zeros(1000))
        checkpoints = checkpoints_of(value, directory)
        assert not checkpoints.restore_newest()
        for number in VALUES if directory.parent == parent else (1.0,):
            save(checkpoints, value, number)
    assert restored(parent / "checkpoints") == VALUES[-1]
    assert len(names_in(parent / "checkpoints")) == 2
    for directory in neighbours:
        assert restored(directory) == 1.0


def test_leftovers_of_a_kill_are_neither_read_nor_kept(directory: Path) -> None:
    leftovers = {f"ckpt-{number}.npz.{32 * 'a'}.tmp" for number in (3, 4)}
    for name in (*leftovers, f"notes.npz.{32 * 'a'}.tmp", "notes.txt"):
        (directory / name).write_bytes(b"half")
    assert restored(directory) == VALUES[-1]
    assert set(names_in(directory)) == {
        *("ckpt-2.npz", "ckpt-3.npz", "notes.txt", f"notes.npz.{32 * 'a'}.tmp")
    }


def test_those_of_version_0_3_are_refused_and_kept(
    features_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a finished run was to be extended: its settings and metrics stay."""
    job = tmp_path / "job"
    words = train_words(features_dir, job, "encoder=dense", "steps_per_epoch=1", "epochs=1")
    assert main(words) == 0
    for path in (job / "checkpoints").iterdir():
        path.rename(path.with_suffix(".index"))
    before = {path: path.read_bytes() for path in job.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main([*words, "epochs=2"]) == 2
    line = error_in(capsys.readouterr().err)
    assert f"{job}/checkpoints holds checkpoints of version 0.3 or earlier" in line
    assert "choose another --job-dir, finish the run with the version that began it" in line
    assert {path: path.read_bytes() for path in job.rglob("*") if path.is_file()} == before
    assert main(words) == 0
    assert "is finished already" in capsys.readouterr().err


def test_others_than_the_chief_read_and_leave_no_trace(directory: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    value = tf.Variable(tf.zeros(1000))
    other = checkpoints_of(value, directory, is_chief=False)
    assert other.restore_newest()
    assert float(value[0]) == VALUES[-1]
    save(other, value, 9.0)
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_it_is_due_by_the_time_since_the_last_save_began(tmp_path: Path) -> None:
    checkpoints = checkpoints_of(tf.Variable(0.0), tmp_path, every_s=0.2)
    time.sleep(0.2)
    assert not checkpoints.is_due()  # the steps have not begun
    with checkpoints:
        assert not checkpoints.is_due()
        time.sleep(0.2)
        assert checkpoints.is_due()
        checkpoints.save()
        checkpoints.wait()
        assert not checkpoints.is_due()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Storage that writes nothing before the event, as if it were slow."""
    opened, write = threading.Event(), storage.atomic_write

    def slow(uri: str) -> AbstractContextManager[BinaryIO]:
        if ".npz" in uri:
            opened.wait(60)
        return write(uri)

    monkeypatch.setattr(storage, "atomic_write", slow)
    yield opened
    opened.set()


def test_slow_storage_does_not_stop_the_steps(tmp_path: Path, gate: threading.Event) -> None:
    """It gets the values of the moment; what falls due meanwhile is skipped, not queued."""
    value = tf.Variable(tf.fill([1000], 1.0))
    with checkpoints_of(value, tmp_path, every_s=1e-9) as checkpoints:
        begin = time.monotonic()
        checkpoints.save()
        for _ in range(10):
            value.assign_add(tf.ones([1000]))
            assert not checkpoints.is_due()
        assert time.monotonic() - begin < 1
        assert names_in(tmp_path) == []
        gate.set()
        checkpoints.wait()
        assert checkpoints.is_due()
    assert restored(tmp_path) == 1.0


def test_at_sigterm_the_run_ends_when_its_state_is_written(
    features_dir: Path, tmp_path: Path, gate: threading.Event
) -> None:
    """Asked for the third time, at step 2 or later, with a checkpoint by time under way."""
    asked = []

    def terminated() -> bool:
        asked.append(time.monotonic())
        if len(asked) == 3:
            threading.Timer(1.0, gate.set).start()
        return len(asked) == 3

    config = TrainConfig(
        encoder="dense", embedding_size=8, batch_size=16, checkpoint_every_s=1e-9, epochs=1
    )
    with pytest.raises(Terminated, match=r"state saved at step (\d+) of 9") as stopped:
        train(str(features_dir), str(tmp_path), config, terminated)
    assert time.monotonic() - asked[2] >= 1
    assert names_in(tmp_path / "checkpoints") == ["ckpt-1.npz", "ckpt-2.npz"]
    with np.load(tmp_path / "checkpoints" / "ckpt-2.npz") as arrays:
        assert f"state saved at step {arrays['progress/step']} of" in str(stopped.value)


def test_the_next_save_and_the_end_wait_for_the_last_one(
    tmp_path: Path, gate: threading.Event
) -> None:
    value = tf.Variable(tf.zeros(1000))
    threading.Timer(0.3, gate.set).start()
    with checkpoints_of(value, tmp_path) as checkpoints:
        checkpoints.save()
        value.assign_add(tf.ones([1000]))
        checkpoints.save()
        assert (tmp_path / "ckpt-1.npz").exists()
    assert restored(tmp_path) == 1.0


@pytest.mark.parametrize("call", ["is_due", "save", "wait", "__exit__"])
def test_an_error_of_the_writer_is_raised_by_the_next_call_once(tmp_path: Path, call: str) -> None:
    home = tmp_path / "job"
    home.write_text("no directory")
    checkpoints = checkpoints_of(tf.Variable(0.0), home / "checkpoints")
    with pytest.raises(JobError, match=rf"cannot write to {home}.*free space"):  # noqa: PT012
        checkpoints.save()
        while checkpoints._write and not checkpoints._write.done():
            time.sleep(0.01)
        getattr(checkpoints, call)(*(None, None, None) if call == "__exit__" else ())
    checkpoints.wait()


def test_beside_another_error_that_of_the_writer_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "job").write_text("no directory")
    checkpoints = checkpoints_of(tf.Variable(0.0), tmp_path / "job" / "checkpoints")
    with pytest.raises(ZeroDivisionError), checkpoints:  # noqa: PT012
        checkpoints.save()
        raise ZeroDivisionError
    assert "cannot write to" in caplog.text


def test_a_full_disk_keeps_the_good_ones(directory: Path) -> None:
    """A limit of the size of files: to a writer the same."""
    value = tf.Variable(tf.zeros(1000))
    checkpoints = checkpoints_of(value, directory)
    assert checkpoints.restore_newest()
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limit[1]))
    try:
        with pytest.raises(JobError, match=r"cannot write to .*ckpt-4.npz: .*free space"):
            save(checkpoints, value, 9.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    assert names_in(directory) == ["ckpt-2.npz", "ckpt-3.npz"]
    assert restored(directory) == VALUES[-1]


def test_the_newest_readable_one_is_copied_for_another_run(directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "other" / "checkpoints"
    (directory / "ckpt-3.npz").write_bytes(b"")
    copy_newest(str(directory), str(target))
    assert names_in(target) == ["ckpt-2.npz"]
    assert restored(target) == VALUES[-2]
    (target / "ckpt-2.npz").rename(target / "ckpt-9.npz")
    copy_newest(str(directory), str(target))
    assert names_in(target) == ["ckpt-9.npz"]


def test_without_one_there_is_nothing_to_copy(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="holds no checkpoint to resume from; run its trial again"):
        copy_newest(str(tmp_path), str(tmp_path / "other"))
    (tmp_path / "ckpt-1.index").touch()
    with pytest.raises(InputError, match=r"version 0\.3 or earlier"):
        copy_newest(str(tmp_path), str(tmp_path / "other"))


def test_copies_of_replicas_are_saved_and_restored(tmp_path: Path) -> None:
    """What one replica saved, two restore, and the other way round."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        mirrored = keras.Variable(np.zeros(3, np.float32))
    single = keras.Variable(np.full(3, 2.0, np.float32))
    for number, (one, other) in enumerate(((single, mirrored), (mirrored, single))):
        checkpoints = checkpoints_of(one, tmp_path / str(number))
        checkpoints.save()
        checkpoints.wait()
        other.assign(np.full(3, -1.0, np.float32))
        assert checkpoints_of(other, tmp_path / str(number)).restore_newest()
        copies = strategy.experimental_local_results(other.value)
        assert [copy.numpy().tolist() for copy in copies] == [[2.0] * 3] * len(copies)
        assert len(copies) == (2 if other is mirrored else 1)
