"""Both storage modules on ``gs://``, and what a bucket may do to them."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.buckets.faults import CUT, RESET, Fault
from tests.buckets.storage_service import StorageService
from tests.processes import ROOT

WITH_TENSORFLOW = """
    from trainer.startup import load_tensorflow

    load_tensorflow()
    from trainer import storage
"""
WITH_BEAM = """
    from beam_features import storage
"""
ROUND_TRIPS = """
    text = storage.join(root, "directory/file.txt")
    assert not storage.exists(text)
    storage.write_text(text, "first, ünicode")
    storage.write_text(text, "second")
    assert storage.read_text(text) == "second"
    assert storage.exists(text)
    try:
        storage.read_text(storage.join(root, "nothing"))
    except FileNotFoundError:
        pass
    else:
        raise AssertionError("there is something")
    assert storage.list_files(root) == [text]
"""
OF_TRAINER = """
    data = storage.join(root, "directory/file.bin")
    storage.write_bytes(data, bytes(range(256)) * 999)
    assert storage.read_bytes(data) == bytes(range(256)) * 999
    assert storage.is_directory(root) and not storage.is_directory(data)
    assert not storage.is_directory(storage.join(root, "nothing"))
    assert storage.list_names(storage.join(root, "directory"), ".bin") == ["file.bin"]
    assert storage.list_names(root, "") == ["directory/"]
    assert storage.list_names(storage.join(root, "nothing"), "") == []
    storage.delete(data)
    storage.delete(data)
    storage.delete_tree(storage.join(root, "directory"))
    assert not storage.exists(text)
"""
OF_FEATURES = """
    assert storage.list_sizes(root) == {text: 6}
    assert storage.read_range(text, 1, 3) == b"eco"
    moved = storage.join(root, "moved.txt")
    storage.rename(text, moved)
    assert storage.list_files(root) == [moved]
    storage.delete([moved, text])
    storage.delete_directory(root)
    assert storage.list_files(root) == []
"""


def run_code(gcs: StorageService, root: str, *parts: str) -> None:
    """Run code in a process that finds the buckets; TensorFlow reads its environment once."""
    code = "\n".join([f"root = {root!r}", *map(textwrap.dedent, parts)])
    finished = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | gcs.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("client", "parts"),
    [
        ("tls", (WITH_TENSORFLOW, ROUND_TRIPS, OF_TRAINER)),
        ("plain", (WITH_BEAM, ROUND_TRIPS, OF_FEATURES)),
    ],
)
def test_round_trips_leave_nothing_behind(
    gcs: StorageService, bucket: str, client: str, parts: tuple[str, ...]
) -> None:
    run_code(gcs, f"gs://{bucket}/here", *parts)
    assert gcs.names(bucket) == []
    assert gcs.log_of(bucket) == gcs.log_of(bucket, client) != []


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts", [(WITH_TENSORFLOW, ROUND_TRIPS, OF_TRAINER), (WITH_BEAM, ROUND_TRIPS, OF_FEATURES)]
)
@pytest.mark.parametrize("action", [503, RESET])
def test_what_passes_is_retried(
    gcs: StorageService, bucket: str, parts: tuple[str, ...], action: int | str
) -> None:
    """At the first request, at one in the middle of a write, and at a read."""
    faults = [
        Fault(f"/{bucket}", action, times=1),
        Fault(f"upload.*/{bucket}/", action, times=1, methods=("POST",)),
        Fault(f"/{bucket}/.*(alt=media|%2Ffile)", action, times=1, after=3, methods=("GET",)),
    ]
    with gcs.inject(*faults):
        run_code(gcs, f"gs://{bucket}/here", *parts)
    assert [fault.hits for fault in faults] == [1, 1, 1]
    assert gcs.names(bucket) == []


@pytest.mark.slow
@pytest.mark.parametrize("parts", [(WITH_TENSORFLOW,), (WITH_BEAM,)])
def test_a_read_that_is_cut_off_is_read_again(
    gcs: StorageService, bucket: str, parts: tuple[str, ...]
) -> None:
    gcs.write(bucket, "file.txt", b"0123456789" * 1000)
    cut = Fault(f"(download.*|^)/{bucket}/.*file.txt", CUT, times=1, methods=("GET",))
    media = Fault(f"/{bucket}/o/file.txt.*alt=media", CUT, times=1, methods=("GET",))
    with gcs.inject(cut, media):
        check = "assert storage.read_text(root + '/file.txt') == '0123456789' * 1000"
        run_code(gcs, f"gs://{bucket}", *parts, check)
    assert cut.hits + media.hits >= 1


REFUSED = """
    from beam_features.schema.access import RefusedError

    calls = {
        "exists": lambda uri: storage.exists(uri),
        "list_files": lambda uri: storage.list_files(uri),
        "read_text": lambda uri: storage.read_text(uri),
        "write_text": lambda uri: storage.write_text(uri, "words"),
    }
    if hasattr(storage, "is_directory"):
        calls["is_directory"] = lambda uri: storage.is_directory(uri)
        calls["list_names"] = lambda uri: storage.list_names(uri, "")
    for name, call in calls.items():
        try:
            call(root + "/directory/file")
        except RefusedError as error:
            assert error.args[0].startswith(beginning), (name, error)
        else:
            raise AssertionError(name)
"""


@pytest.mark.parametrize("parts", [(WITH_TENSORFLOW,), (WITH_BEAM,)])
def test_without_a_permission_nothing_looks_empty(
    gcs: StorageService, bucket: str, parts: tuple[str, ...]
) -> None:
    root = f"gs://{bucket}"
    beginning = f"beginning = 'permission denied for {root}/directory'"
    with gcs.inject(Fault(f"/{bucket}", 403)):
        run_code(gcs, root, *parts, beginning, REFUSED)


@pytest.mark.parametrize("parts", [(WITH_TENSORFLOW,), (WITH_BEAM,)])
def test_a_write_into_a_bucket_that_is_not_there_says_so(
    gcs: StorageService, parts: tuple[str, ...]
) -> None:
    check = """
    try:
        storage.write_text(root + "/directory/file", "words")
    except Exception as error:
        assert "there is no bucket gs://no-such-bucket for" in str(error), error
    else:
        raise AssertionError("written")
    assert not storage.exists(root + "/directory/file")
    """
    run_code(gcs, "gs://no-such-bucket", *parts, check)
