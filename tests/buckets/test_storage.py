"""The storage layer on ``gs://``, and what a bucket may do to it."""

import os
import subprocess
import sys
import textwrap

import pytest

from tests.buckets.faults import CUT, RESET, Fault
from tests.buckets.storage_service import StorageService
from tests.processes import ROOT

BEGIN = """
    import sys
    from dem import storage
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
    assert storage.list_sizes(root) == {text: 6}
    assert storage.read_range(text, 1, 3) == b"eco"
    data = storage.join(root, "directory/a [b] *?%2F ü.bin")
    storage.write_bytes(data, bytes(range(256)) * 999)
    assert storage.read_bytes(data) == bytes(range(256)) * 999
    assert storage.is_directory(root) and not storage.is_directory(data)
    assert storage.is_file(data) and not storage.is_file(root)
    assert storage.exists(root) and storage.exists(data)
    nothing = storage.join(root, "nothing")
    assert not storage.is_directory(nothing) and not storage.exists(nothing)
    assert storage.list_names(storage.join(root, "directory"), ".txt") == ["file.txt"]
    assert storage.list_names(root) == ["directory"]
    assert storage.list_names(nothing) == storage.list_files(nothing) == []
    moved = storage.join(root, "moved.bin")
    storage.rename(data, moved)
    assert storage.list_files(root) == [text, moved]
    try:
        storage.rename(data, moved)
    except FileNotFoundError as error:
        assert str(error) == data
    else:
        raise AssertionError("moved")
    with storage.open_binary(moved) as file:
        assert file.seek(0, 2) == 255744
        file.seek(255)
        assert file.read(2) == b"\\xff\\x00"
    try:
        with storage.atomic_write(moved) as file:
            file.write(b"half")
            raise KeyError
    except KeyError:
        assert storage.read_bytes(moved) == bytes(range(256)) * 999
    with storage.atomic_write(moved) as file:
        file.write(b"a" * (9 << 20))  # more than one part of an upload
        file.flush()  # as zipfile does
        file.write(b"b")
    assert storage.list_sizes(root)[moved] == (9 << 20) + 1
    storage.make_directory(storage.join(root, "no such thing"))
    storage.copy(moved, data)
    storage.delete(moved, moved, data)
    storage.delete(nothing)
    storage.write_text(storage.join(root, "directory-beside"), "kept")
    storage.delete_tree(storage.join(root, "directory"))
    assert storage.list_files(root) == [storage.join(root, "directory-beside")]
    storage.delete_tree(storage.join(root, "directory-beside"))
    assert not {"tensorflow", "apache_beam", "pyarrow"} & set(sys.modules)
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


def test_round_trips_leave_nothing_behind(gcs: StorageService, bucket: str) -> None:
    run_code(gcs, f"gs://{bucket}/here", BEGIN, ROUND_TRIPS)
    assert gcs.names(bucket) == []
    assert gcs.log_of(bucket) == gcs.log_of(bucket, "plain") != []


NO_EMULATOR = """
    import os
    del os.environ["STORAGE_EMULATOR_HOST"]
"""


def test_credentials_are_the_default_ones_and_the_endpoint_is_googles(
    gcs: StorageService, bucket: str
) -> None:
    """Those of the machine, from its metadata server; the proxy is the host at the other end."""
    run_code(gcs, f"gs://{bucket}/here", NO_EMULATOR, BEGIN, ROUND_TRIPS)
    assert gcs.names(bucket) == []
    assert gcs.log_of(bucket) == gcs.log_of(bucket, "tls") != []
    assert all(one.authorised for one in gcs.log_of(bucket))


def test_equal_objects_are_found_without_reading_them(gcs: StorageService, bucket: str) -> None:
    for name, content in (("a/1", b"same"), ("b/2", b"same"), ("a/3", b"else"), ("a/4", b"other")):
        gcs.write(bucket, name, content)
    check = """
    from beam_features.job.duplicates import equal_files
    versions = storage.file_versions(storage.list_files(root))
    assert len(versions) == 4
    assert equal_files(versions, print) == [(f"{root}/a/1", f"{root}/b/2")]
    """
    run_code(gcs, f"gs://{bucket}", BEGIN, check)
    assert not [one for one in gcs.log_of(bucket) if "alt=media" in one.path]


SWAPS = """
    import threading
    from dem import gcs
    uri = storage.join(root, 'a "b" \\\\ [c] ü')
    assert not storage.swap(uri, b"1", b"2")
    assert storage.swap(uri, None, b"1")
    assert not storage.swap(uri, None, b"2")
    assert not storage.swap(uri, b"0", None)
    assert storage.read_bytes(uri) == b"1"
    assert storage.swap(uri, b"1", None)
    assert storage.list_files(root) == []
    winners = []
    read, all_have_read, once = gcs._read_current, threading.Barrier(6), threading.local()
    def read_with_all_others(uri):
        current = read(uri)
        if not hasattr(once, "done"):  # what follows is a race
            once.done = True
            all_have_read.wait()
        return current
    gcs._read_current = read_with_all_others
    def compete(name):
        if storage.swap(uri, None, name):
            winners.append(name)
    threads = [threading.Thread(target=compete, args=[b"%d" % name]) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [storage.read_bytes(uri)] == winners
"""


def test_of_many_swaps_one_succeeds(gcs: StorageService, bucket: str) -> None:
    """Uploads and deletions are conditional on the generation that was read."""
    run_code(gcs, f"gs://{bucket}/here", BEGIN, SWAPS)
    conditional = [one for one in gcs.log_of(bucket) if "ifGenerationMatch" in one.path]
    assert 412 in {one.outcome for one in conditional}


def test_a_swap_in_no_bucket_says_so(gcs: StorageService) -> None:
    check = """
    from dem.errors import InputError
    try:
        storage.swap(root, None, b"1")
    except InputError as error:
        assert "there is no bucket gs://nothing-here" in str(error), error
    else:
        raise AssertionError("there is a bucket")
    """
    run_code(gcs, "gs://nothing-here/lease.json", BEGIN, check)


def test_credentials_that_cannot_be_read_are_named(gcs: StorageService, bucket: str) -> None:
    check = """
    from dem.errors import InputError
    os.environ["GOOGLE_APPLICATION_CREDENTIALS"] = "/no/such/key.json"
    try:
        storage.exists(root)
    except InputError as error:
        assert "/no/such/key.json" in str(error), error
    else:
        raise AssertionError("somebody else's credentials")
    """
    run_code(gcs, f"gs://{bucket}/here", NO_EMULATOR, BEGIN, check)
    assert gcs.log_of(bucket) == []


@pytest.mark.slow
@pytest.mark.parametrize("action", [503, RESET])
def test_what_passes_is_retried(gcs: StorageService, bucket: str, action: int | str) -> None:
    """At the first request, at one in the middle of a write, and at a read."""
    faults = [
        Fault(f"/{bucket}", action, times=1),
        Fault(f"upload.*/{bucket}/", action, times=1, methods=("POST",)),
        Fault(f"/{bucket}/.*(alt=media|%2Ffile)", action, times=1, after=3, methods=("GET",)),
    ]
    with gcs.inject(*faults):
        run_code(gcs, f"gs://{bucket}/here", BEGIN, ROUND_TRIPS)
    assert [fault.hits for fault in faults] == [1, 1, 1]
    assert gcs.names(bucket) == []


@pytest.mark.slow
def test_a_read_that_is_cut_off_is_read_again(gcs: StorageService, bucket: str) -> None:
    gcs.write(bucket, "file.txt", b"0123456789" * 1000)
    cut = Fault(f"(download.*|^)/{bucket}/.*file.txt", CUT, times=1, methods=("GET",))
    media = Fault(f"/{bucket}/o/file.txt.*alt=media", CUT, times=1, methods=("GET",))
    with gcs.inject(cut, media):
        check = "assert storage.read_text(root + '/file.txt') == '0123456789' * 1000"
        run_code(gcs, f"gs://{bucket}", BEGIN, check)
    assert cut.hits + media.hits >= 1


REFUSED = """
    from dem.errors import InputError

    calls = {
        "exists": lambda uri: storage.exists(uri),
        "list_files": lambda uri: storage.list_files(uri),
        "read_text": lambda uri: storage.read_text(uri),
        "write_text": lambda uri: storage.write_text(uri, "words"),
        "is_file": lambda uri: storage.is_file(uri),
        "is_directory": lambda uri: storage.is_directory(uri),
        "list_names": lambda uri: storage.list_names(uri),
        "read_range": lambda uri: storage.read_range(uri, 0, 1),
        "rename": lambda uri: storage.rename(uri, uri + "2"),
        "delete": lambda uri: storage.delete(uri),
        "delete_tree": lambda uri: storage.delete_tree(uri),
    }
    for name, call in calls.items():
        try:
            call(root + "/directory/file")
        except InputError as error:
            assert error.args[0].startswith(beginning), (name, error)
        else:
            raise AssertionError(name)
"""


def test_without_a_permission_nothing_looks_empty(gcs: StorageService, bucket: str) -> None:
    root = f"gs://{bucket}"
    beginning = f"beginning = 'permission denied for {root}/directory'"
    with gcs.inject(Fault(f"/{bucket}", 403)):
        run_code(gcs, root, BEGIN, beginning, REFUSED)


def test_a_write_into_a_bucket_that_is_not_there_says_so(
    gcs: StorageService,
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
    run_code(gcs, "gs://no-such-bucket", BEGIN, check)
