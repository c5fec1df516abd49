"""Storage on a real directory; names that are patterns elsewhere are names to us."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading

import pytest

from dem import storage
from dem.errors import InputError, JobError
from tests.processes import ROOT

NAMES = ["a [b]", "what?", "100%", "x*y", "ünïcode é", "[!a]", "a\nb", os.fsdecode(b"\xff")]


@pytest.fixture(params=["plain", *NAMES])
def root(request, tmp_path):
    """A directory of that name."""
    path = tmp_path / request.param
    path.mkdir()
    return path


def test_atomic_write_leaves_the_file_alone(root):
    with storage.atomic_write(str(root / "f")) as file:
        file.write(b"12")
        file.write(b"3")
        (temporary,) = root.iterdir()
        assert storage.intended_name(str(temporary)) == str(root / "f")
    assert [path.name for path in root.iterdir()] == ["f"]
    assert (root / "f").read_bytes() == b"123"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_atomic_write_leaves_nothing_when_interrupted(root, error):
    def write():
        with storage.atomic_write(str(root / "f")) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert list(root.iterdir()) == []


def test_interrupted_atomic_write_keeps_the_former_content(tmp_path):
    (tmp_path / "f").write_text("old")
    with pytest.raises(TypeError), storage.atomic_write(str(tmp_path / "f")) as file:
        file.write("str instead of bytes")
    assert (tmp_path / "f").read_text() == "old"


def test_two_atomic_writes_at_once_leave_one_whole_file(root):
    """As when a killed job lives on in a worker while the next one makes the same file."""
    uri = str(root / "f")
    with storage.atomic_write(uri) as first:
        first.write(b"1" * 100_000)
        with storage.atomic_write(uri) as second:
            second.write(b"22")
        first.write(b"11")
    assert [path.name for path in root.iterdir()] == ["f"]
    assert (root / "f").read_bytes() == b"1" * 100_002


def test_atomic_write_fails_where_another_took_its_temporary_file(root):
    def write():
        with storage.atomic_write(str(root / "f")) as file:
            file.write(b"1")
            storage.delete(*storage.list_files(str(root)))

    with pytest.raises(JobError, match=f"cannot write to {re.escape(str(root))}/f: "):
        write()
    assert list(root.iterdir()) == []


def test_only_temporary_files_have_an_intended_name():
    number = "0123456789abcdef" * 2
    assert storage.intended_name(f"gs://b/a\nb.{number}.tmp") == "gs://b/a\nb"
    for name in ("f", "f.tmp", f"f.{number}", f"f.{number}.tmp.wav", f"f.{number[1:]}.tmp"):
        assert storage.intended_name(name) is None


def test_atomic_write_makes_directories(tmp_path):
    storage.write_text(str(tmp_path / "a" / "b" / "f"), "x")
    assert (tmp_path / "a" / "b" / "f").read_text() == "x"


def test_list_files_at_any_depth_sorted(root):
    for name in ("b.wav", "a.wav", "sub/deep [1]/c*.wav", "sub/.hidden", "z\nq"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root.parent / "outside.wav").touch()
    expected = ["a.wav", "b.wav", "sub/.hidden", "sub/deep [1]/c*.wav", "z\nq"]
    assert storage.list_files(str(root)) == [f"{root}/{name}" for name in expected]
    assert storage.list_files(f"{root}/") == storage.list_files(str(root))


def test_list_files_of_no_directory_is_empty(tmp_path):
    assert storage.list_files(str(tmp_path / "none")) == []


def test_delete_takes_names_literally(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    (tmp_path / "xzy").touch()  # which "x*y" matches as a pattern
    storage.delete(*(str(tmp_path / name) for name in [*NAMES, "gone already"]))
    assert [path.name for path in tmp_path.iterdir()] == ["xzy"]


def test_delete_tree(root):
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "e" / "f").touch()
    (root / "kept").touch()
    storage.delete_tree(str(root / "d"))
    assert [path.name for path in root.iterdir()] == ["kept"]
    storage.delete_tree(str(root / "d"))  # gone already


def test_delete_tree_that_others_write_to(tmp_path):
    """It may fail while they do and succeeds once they have stopped."""
    directory, stop = tmp_path / "d", threading.Event()

    def write() -> None:
        while not stop.is_set():
            with contextlib.suppress(JobError):
                storage.write_text(str(directory / "e" / "f"), "x")

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(20):
        with contextlib.suppress(JobError):
            storage.delete_tree(str(directory))
    stop.set()
    writer.join()
    storage.delete_tree(str(directory))
    assert list(tmp_path.iterdir()) == []


def test_read_range(tmp_path):
    (tmp_path / "f").write_bytes(b"0123456789")
    assert storage.read_range(str(tmp_path / "f"), 3, 4) == b"3456"


def test_compressed_files_are_read_as_stored(tmp_path):
    (tmp_path / "x.gz").write_bytes(b"not gzip")
    with storage.open_binary(str(tmp_path / "x.gz")) as file:
        assert file.read() == b"not gzip"
        file.seek(4)
        assert file.read() == b"gzip"


def test_missing_files(tmp_path):
    assert not storage.exists(str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="none"):
        storage.read_text(str(tmp_path / "none"))


@pytest.mark.parametrize("read", [storage.read_text, storage.read_bytes])
def test_a_directory_is_no_file_to_read(tmp_path, read):
    for uri in (str(tmp_path), str(tmp_path / "f" / "g")):
        (tmp_path / "f").touch()
        with pytest.raises(FileNotFoundError, match=re.escape(uri)):
            read(uri)


def test_files_and_directories_are_told_apart(root):
    (root / "f").touch()
    (root / "d").mkdir()
    file, directory, nothing = (str(root / name) for name in ("f", "d", "n"))
    for check, expected in (
        (storage.exists, [True, True, False]),
        (storage.is_file, [True, False, False]),
        (storage.is_directory, [False, True, False]),
    ):
        assert [check(uri) for uri in (file, directory, nothing)] == expected
    assert storage.list_names(str(root)) == ["d", "f"]
    assert storage.list_names(str(root), "f") == ["f"]
    assert storage.list_names(nothing) == []


def test_files_are_written_in_one_piece_and_replaced(root):
    uri = str(root / "new" / "directory" / "file.txt")
    storage.write_text(uri, "first, ünicode")
    storage.write_text(uri, "second")
    assert storage.read_text(uri) == "second"
    assert os.listdir(root / "new" / "directory") == ["file.txt"]


def test_rename_replaces(root):
    storage.write_text(str(root / "a"), "new")
    storage.write_text(str(root / "b"), "old")
    storage.rename(str(root / "a"), str(root / "b"))
    assert storage.read_text(str(root / "b")) == "new"
    with pytest.raises(FileNotFoundError, match=re.escape(f"{root}/a")):
        storage.rename(str(root / "a"), str(root / "b"))
    with pytest.raises(JobError, match=r"/none/c: No such file or directory; free space"):
        storage.rename(str(root / "b"), str(root / "none" / "c"))


def test_upload_directory_writes_the_marker_last(root):
    storage.write_text(str(root / "from" / "marker"), "m")
    storage.write_text(str(root / "from" / "sub" / "z"), "z")
    storage.write_text(str(root / "to" / "marker"), "old")
    (root / "to" / "sub").touch()  # so that the first copy fails
    with pytest.raises(JobError, match=r"/to/sub(/z)?: "):
        storage.upload_directory(str(root / "from"), str(root / "to"), "marker")
    assert not (root / "to" / "marker").exists()
    (root / "to" / "sub").unlink()
    storage.upload_directory(str(root / "from"), str(root / "to"), "marker")
    assert (root / "to" / "marker").read_text() == "m"
    assert (root / "to" / "sub" / "z").read_text() == "z"


def test_delete_tree_of_a_file_or_a_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "f").touch()
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "file").touch()
    for name in ("link", "file", "none"):
        storage.delete_tree(str(tmp_path / name))
    assert [path.name for path in tmp_path.rglob("*")] == ["kept", "f"]


def test_delete_empty_directories(root):
    (root / "empty").mkdir()
    (root / "full" / "d").mkdir(parents=True)
    storage.delete_empty_directories(str(root / "empty"), str(root / "full"), str(root / "none"))
    assert os.listdir(root) == ["full"]


def test_writes_that_fail_leave_nothing(tmp_path):
    """On a disk of 64 kB, mounted in a namespace of its own."""
    code = """
import os
from dem import storage
from dem.errors import JobError
uri = os.path.join(os.environ["DISK"], "d", "file")
storage.write_text(uri, "old")
try:
    storage.write_bytes(uri, bytes(1 << 20))
except JobError as error:
    print(error)
print(os.listdir(os.path.dirname(uri)), storage.read_text(uri))
"""
    mount = 'mount -t tmpfs -o size=64k none "$DISK" && exec "$0" -c "$1"'
    command = ["unshare", "--mount", "sh", "-c", mount, sys.executable, code]
    if not shutil.which("unshare"):
        pytest.skip("needs unshare")
    environment = os.environ | {"DISK": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip(f"cannot mount here: {done.stderr.strip()}")
    assert done.stdout.splitlines() == [
        f"cannot write to {tmp_path}/d/file: No space left on device; free space or check the "
        "path, then run the same command again to resume",
        "['file'] old",
    ]


@pytest.mark.parametrize("uri", ["s3://bucket/x", "hdfs://host/x", "http://example.com/a.wav"])
def test_other_storage_is_refused(uri):
    for call in (storage.check_uri, storage.exists, storage.read_text, storage.list_files):
        with pytest.raises(InputError, match=f"unsupported storage '{uri}'; give a path or gs://…"):
            call(uri)


@pytest.mark.parametrize(
    ("root", "names", "joined"),
    [
        ("gs://bucket/job/", ["logs", "x"], "gs://bucket/job/logs/x"),
        ("job/", ["logs", "x"], "job/logs/x"),
        ("/", ["x"], "/x"),
        ("", ["x"], "x"),
    ],
)
def test_join(root, names, joined):
    assert storage.join(root, *names) == joined


def test_local_files_need_none_of_the_heavy_libraries(tmp_path):
    code = """
import sys
from dem import storage
storage.write_text(sys.argv[1], "x")
assert storage.read_text(sys.argv[1]) == "x"
print({"dem.gcs", "google.auth", "pyarrow", "requests", "numpy"} & set(sys.modules))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "f")]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == "set()\n"


def test_make_directory_twice(tmp_path):
    storage.make_directory(str(tmp_path / "a" / "b"))
    storage.make_directory(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


def test_make_directory_below_a_file_fails(tmp_path):
    (tmp_path / "f").touch()
    with pytest.raises(JobError, match=r"^cannot write to \S+/f/d: Not a directory"):
        storage.make_directory(str(tmp_path / "f" / "d"))


def test_sizes_of_files(root):
    (root / "b").write_bytes(b"12345")
    (root / "a").touch()
    assert list(storage.list_sizes(str(root)).items()) == [(f"{root}/a", 0), (f"{root}/b", 5)]


def test_links_out_of_a_directory(tmp_path):
    """A link that leaves by a second one does leave; a cycle and a way out and back do not."""
    for name in ("in/sub", "in2/sub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "in" / "file").touch()
    links = {
        "to_file": "file",
        "sub/back": "../../in/file",
        "cycle": "cycle",
        "out": "../in2",
        "sub/by_two": "../out/sub",
        "broken": "/no/such",
        "up": "sub",
    }
    for name, target in links.items():
        (tmp_path / "in" / name).symlink_to(target)
    obstacles = storage.list_obstacles(str(tmp_path / "in"))
    assert [(path, reason) for path, (reason, _) in obstacles.items()] == [
        (f"{tmp_path}/in/broken", "symlink_outside"),
        (f"{tmp_path}/in/cycle", "broken_link"),
        (f"{tmp_path}/in/out", "symlink_outside"),
        (f"{tmp_path}/in/sub/by_two", "symlink_outside"),
        (f"{tmp_path}/in/up", "symlink_directory"),
    ]
    detail = f"leads to '{tmp_path}/in2/sub', outside of --input"
    assert obstacles[f"{tmp_path}/in/sub/by_two"][1] == detail


@pytest.mark.parametrize("root", ["gs://bucket/songs", "/no/such/directory"])
def test_no_links_where_there_is_no_directory(root):
    assert storage.list_obstacles(root) == {}


def test_swap_replaces_only_what_is_expected(root):
    uri = str(root / "new" / "f")
    assert not storage.swap(uri, b"1", b"2")
    assert storage.swap(uri, None, b"1")
    assert not storage.swap(uri, None, b"2")
    assert not storage.swap(uri, b"0", None)
    assert storage.read_bytes(uri) == b"1"
    assert storage.swap(uri, b"1", b"")
    assert storage.swap(uri, b"", None)
    assert list((root / "new").iterdir()) == []


def test_of_many_swaps_one_succeeds(tmp_path):
    uri = str(tmp_path / "f")
    successes = []

    def count():
        successes.extend(
            step
            for step in range(20)
            if storage.swap(uri, b"%d" % step if step else None, b"%d" % (step + 1))
        )

    threads = [threading.Thread(target=count) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(successes) == list(range(len(successes)))
    assert storage.read_bytes(uri) == b"%d" % len(successes)


def test_read_each_gives_many_files_in_order_without_those_that_are_gone(tmp_path):
    uris = [str(tmp_path / f"{index}") for index in range(600)]
    for index in range(0, 600, 2):
        (tmp_path / f"{index}").write_bytes(b"%d" % index)
    assert list(storage.read_each(uris)) == [(uris[i], b"%d" % i) for i in range(0, 600, 2)]
    assert list(storage.read_each([])) == []
