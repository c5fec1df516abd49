"""Downloads from a real HTTP server that keeps a log and can be told to misbehave."""

import hashlib
import io
import logging
import re
import signal
import subprocess
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from beam_features.datasets.esc50 import list_recordings
from beam_features.download import fetch as fetch_module
from beam_features.download.__main__ import main
from beam_features.download.catalogue import DATASETS, Archive, Dataset
from beam_features.download.run import download
from dem.errors import InputError, JobError
from tests.processes import error_in, start


class Server(ThreadingHTTPServer):
    """Serves `files` by name, in the way that `behaviour` says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.behaviour = "ranges"  # ranges, ignore_ranges, refuse_ranges, wrong_range, busy_once
        self.breaks_left = 0  # how many answers break off…
        self.break_after = 0  # …after so many bytes
        self.pause_after: int | None = None  # wait there until the client is gone
        self.log: list[tuple[str, str | None]] = []  # name, Range header
        self.paused = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name, server = self.path.lstrip("/"), self.server
        asked = self.headers["Range"]
        server.log.append((name, asked))
        data = server.files.get(name)
        if data is None:
            return self.answer(404, b"")
        if server.behaviour == "busy_once":
            server.behaviour = "ranges"
            return self.answer(503, b"")
        begin = int(asked[len("bytes=") : -1]) if asked else 0
        if (asked and server.behaviour == "refuse_ranges") or begin > len(data):
            return self.answer(416, b"", f"bytes */{len(data)}")
        if asked and begin == len(data) and server.behaviour != "ignore_ranges":
            return self.answer(416, b"", f"bytes */{len(data)}")
        if not asked or server.behaviour == "ignore_ranges":
            return self.answer(200, data)
        first = 0 if server.behaviour == "wrong_range" else begin
        return self.answer(206, data[begin:], f"bytes {first}-{len(data) - 1}/{len(data)}")

    def answer(self, status: int, body: bytes, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        if self.server.pause_after is not None:
            self.wfile.write(body[: self.server.pause_after])
            self.server.paused.set()
            time.sleep(20)  # the client is killed meanwhile
        elif body and self.server.breaks_left:
            self.server.breaks_left -= 1
            self.wfile.write(body[: self.server.break_after])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


NOISE = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(10_000))
META = zipped({"songs/meta.csv": b"file,label\n", "__MACOSX/._meta": b"left out"})
AUDIO = zipped({"songs/a.wav": NOISE, "songs/b.wav": b"b"})  # 320 kB: several chunks


def dataset_of(**files: bytes) -> Dataset:
    archives = tuple(
        Archive(f"{name}.zip", f"http://nowhere.invalid/{name}.zip", len(data), f"md5:{md5}")
        for name, data in files.items()
        for md5 in [hashlib.md5(data).hexdigest()]
    )
    required = (("songs/*.wav", 2), ("songs/meta.csv", 1))
    return Dataset(
        "songs", archives, ("songs",), required, 1000, "do as you like", "folder", "songs"
    )


SONGS = dataset_of(meta=META, audio=AUDIO)


@pytest.fixture
def fetch_songs(server, tmp_path, monkeypatch) -> Callable[..., None]:
    """Download `SONGS` from the server, without pauses between the tries."""
    server.files = {"meta.zip": META, "audio.zip": AUDIO}
    monkeypatch.setattr(fetch_module, "_LONGEST_WAIT_S", 0)
    return lambda **options: download(SONGS, tmp_path, base_url=server.url, **options)


def assert_complete(root: Path) -> None:
    assert (root / "songs/a.wav").read_bytes() == NOISE
    assert sorted(path.name for path in root.iterdir()) == ["songs"]
    assert sorted(path.name for path in (root / "songs").iterdir()) == [
        "a.wav",
        "b.wav",
        "meta.csv",
    ]


def test_fetches_checks_and_unpacks(server, fetch_songs, tmp_path, capsys, caplog):
    caplog.set_level(logging.INFO)
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == [("meta.zip", None), ("audio.zip", None)]
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "licence: do as you like"
    assert said[1] == "download: about 0.0 GB in 2 zip file(s)"
    assert re.fullmatch(r"disk: about 0\.0 GB needed in .*, \d+\.\d GB free", said[2])
    assert caplog.messages == ["[1/2] meta.zip", "[2/2] audio.zip"]
    assert said[-1] == (
        f"python -m beam_features --dataset folder --input {tmp_path}/songs "
        f"--output {tmp_path}/songs-features"
    )


def test_what_is_complete_is_not_fetched_again(server, fetch_songs, tmp_path, caplog):
    fetch_songs()
    server.log.clear()
    caplog.clear()
    caplog.set_level(logging.INFO)
    fetch_songs()
    assert server.log == []
    assert caplog.messages == [f"songs is already complete in {tmp_path}, nothing to download"]


def test_kept_archives_are_used_again(server, fetch_songs, tmp_path):
    fetch_songs(keep_archives=True)
    kept = sorted(path.name for path in (tmp_path / "songs-archives").iterdir())
    assert kept == ["audio.zip", "meta.zip"]
    (tmp_path / "songs").rename(tmp_path / "elsewhere")
    server.log.clear()
    fetch_songs(keep_archives=True)
    assert server.log == []
    assert (tmp_path / "songs/a.wav").read_bytes() == NOISE


def test_goes_on_where_the_connection_broke(server, fetch_songs, tmp_path):
    server.breaks_left, server.break_after = 2, 131_072  # the first leaves meta.zip whole
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == [
        ("meta.zip", None),
        ("audio.zip", None),
        ("audio.zip", "bytes=131072-"),
    ]


@pytest.mark.parametrize(
    ("behaviour", "requests"),
    [
        ("ranges", ["bytes=100000-"]),
        ("ignore_ranges", ["bytes=100000-"]),  # status 200, all of it
        ("refuse_ranges", ["bytes=100000-", None]),  # status 416
        ("wrong_range", ["bytes=100000-", None]),  # status 206 with another Content-Range
        ("busy_once", ["bytes=100000-", "bytes=100000-"]),  # status 503
    ],
)
def test_servers_differ_in_ranges(server, fetch_songs, tmp_path, behaviour, requests):
    archives = tmp_path / "songs-archives"
    archives.mkdir()
    (archives / "meta.zip").write_bytes(META)
    (archives / "audio.zip.part").write_bytes(AUDIO[:100_000])
    server.behaviour = behaviour
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == [("audio.zip", asked) for asked in requests]


def test_killed_while_the_checksum_was_computed(server, fetch_songs, tmp_path):
    """All bytes are there under the name of the part: 416 with that size means complete."""
    archives = tmp_path / "songs-archives"
    archives.mkdir()
    (archives / "audio.zip.part").write_bytes(AUDIO)
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == [("meta.zip", None), ("audio.zip", f"bytes={len(AUDIO)}-")]


def test_a_part_longer_than_the_file_is_dropped(server, fetch_songs, tmp_path):
    archives = tmp_path / "songs-archives"
    archives.mkdir()
    (archives / "audio.zip.part").write_bytes(AUDIO + b"more")
    fetch_songs()
    assert_complete(tmp_path)


def test_wrong_bytes_are_deleted(server, fetch_songs, tmp_path):
    wrong = AUDIO[:-1] + b"?"
    server.files["audio.zip"] = wrong
    with pytest.raises(JobError) as refused:
        fetch_songs()
    message = str(refused.value)
    assert hashlib.md5(AUDIO).hexdigest() in message
    assert hashlib.md5(wrong).hexdigest() in message
    assert message.startswith(f"{server.url}/audio.zip: ")
    assert "\n" not in message
    assert list((tmp_path / "songs-archives").iterdir()) == []
    assert not (tmp_path / "songs").exists()
    server.files["audio.zip"] = AUDIO
    server.log.clear()
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == [("audio.zip", None)]


def test_gives_up_after_the_retries_and_keeps_the_part(server, fetch_songs, tmp_path):
    server.breaks_left, server.break_after = 1000, 65_536
    with pytest.raises(JobError) as refused:
        fetch_songs(retries=2)
    assert str(refused.value).startswith(f"cannot download {server.url}/audio.zip: ")
    assert "196,608 bytes are kept, the same command resumes" in str(refused.value)
    asked = [ranged for name, ranged in server.log if name == "audio.zip"]
    assert asked == [None, "bytes=65536-", "bytes=131072-"]
    server.breaks_left = 0
    server.log.clear()
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == [("audio.zip", "bytes=196608-")]


@pytest.mark.parametrize("name", ["../x", "/etc/x", "songs/../../x", "C:\\x", "..\\x"])
def test_a_path_that_escapes_is_refused(server, tmp_path, name):
    evil = zipped({"songs/a.wav": b"a", name: b"boo"})
    server.files["evil.zip"] = evil
    output = tmp_path / "deep" / "output"
    with pytest.raises(JobError, match=r"evil\.zip cannot be unpacked: its member .* outside"):
        download(dataset_of(evil=evil), output, base_url=server.url)
    found = {path.name for path in tmp_path.rglob("*")}
    assert found == {"deep", "output", "songs-incomplete", ".unpacked", "songs-archives"}


def test_what_lacks_files_is_not_published(server, tmp_path):
    only = zipped({"songs/a.wav": b"a"})
    server.files["only.zip"] = only
    with pytest.raises(JobError, match=r"holds 1 of 2 files songs/\*\.wav; the layout must"):
        download(dataset_of(only=only), tmp_path, base_url=server.url)
    assert not (tmp_path / "songs").exists()


def test_a_directory_of_the_same_name_is_left_alone(server, fetch_songs, tmp_path):
    (tmp_path / "songs").mkdir()
    (tmp_path / "songs/mine.wav").write_bytes(b"mine")
    with pytest.raises(InputError, match=r"1 of 2 files songs/\*\.wav; move it or choose"):
        fetch_songs()
    assert server.log == []
    assert (tmp_path / "songs/mine.wav").read_bytes() == b"mine"


def test_killed_between_the_last_rename_and_the_clearing_up(server, fetch_songs, tmp_path):
    fetch_songs()
    server.log.clear()
    (tmp_path / "songs-incomplete/.unpacked").mkdir(parents=True)
    fetch_songs()
    assert_complete(tmp_path)
    assert server.log == []


@pytest.fixture(scope="module")
def esc50() -> bytes:
    """An archive with the 2000 names of ESC-50, and noise to make it worth an interruption."""
    clips = {f"ESC-50-master/audio/{n}.wav": b"" for n in range(1, 2000)}
    clips["ESC-50-master/audio/0.wav"] = NOISE * 8  # 2.5 MB
    table = b"filename,fold,category,src_file\n0.wav,1,dog,100032\n"
    return zipped({**clips, "ESC-50-master/meta/esc50.csv": table})


def test_killed_in_the_middle_a_rerun_fetches_only_what_is_missing(server, esc50, tmp_path, capsys):
    server.files["ESC-50-master.zip"] = esc50
    server.pause_after = 1_000_000
    words = ("beam_features.download", "esc50", "--output", tmp_path, "--base-url", server.url)
    process = start(*words)
    assert server.paused.wait(30)
    part = tmp_path / "esc50-archives/ESC-50-master.zip.part"
    wait_until(lambda: part.exists() and part.stat().st_size >= 900_000)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "ESC-50-master").exists()
    have = part.stat().st_size
    assert part.read_bytes() == esc50[:have]

    server.pause_after = None
    assert main([str(word) for word in words[1:]]) == 0
    stdout = capsys.readouterr().out
    assert server.log == [
        ("ESC-50-master.zip", None),
        ("ESC-50-master.zip", f"bytes={have}-"),
    ]
    assert (tmp_path / "ESC-50-master/audio/0.wav").read_bytes() == NOISE * 8
    assert len(list((tmp_path / "ESC-50-master/audio").iterdir())) == 2000
    assert [path.name for path in tmp_path.iterdir()] == ["ESC-50-master"]
    listing = list_recordings(str(tmp_path / "ESC-50-master"))  # as the next command does
    (recording,) = listing.recordings
    assert recording.uri == f"{tmp_path}/ESC-50-master/audio/0.wav"
    assert "licence: CC BY-NC 3.0" in stdout
    assert "checksum: none published" in stdout
    assert stdout.endswith(
        f"python -m beam_features --dataset esc50 --input {tmp_path}/ESC-50-master "
        f"--output {tmp_path}/esc50-features\n"
    )


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_esc50_with_a_clip_too_few_is_deleted(server, tmp_path, capsys):
    clips = {f"ESC-50-master/audio/{n}.wav": b"" for n in range(1999)}
    server.files["ESC-50-master.zip"] = zipped({**clips, "ESC-50-master/meta/esc50.csv": b""})
    assert main(["esc50", "--output", str(tmp_path), "--base-url", server.url]) == 1
    assert "1999 of 2000 files ESC-50-master/audio/*.wav" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_esc50_that_is_no_zip_is_deleted(server, tmp_path, capsys):
    server.files["ESC-50-master.zip"] = b"<html>please log in</html>"
    assert main(["esc50", "--output", str(tmp_path), "--base-url", server.url]) == 1
    error = error_in(capsys.readouterr().err)
    assert error.startswith("error: ESC-50-master.zip cannot be unpacked: File is not a zip file; ")
    assert list((tmp_path / "esc50-archives").iterdir()) == []


@pytest.fixture
def failure(capsys) -> Callable[..., str]:
    """Run the command, which must fail; return its one line on stderr."""

    def failure(*words: object) -> str:
        assert main([str(word) for word in words]) == 1
        return error_in(capsys.readouterr().err)

    return failure


def test_a_wrong_checksum_is_one_line_and_code_1(server, tmp_path, failure):
    server.files["fma_metadata.zip"] = META
    line = failure("fma-small", "--output", tmp_path, "--base-url", server.url)
    assert "expected sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733" in line
    assert f"got {hashlib.sha1(META).hexdigest()}" in line


def test_a_missing_file_is_one_line_and_code_1(server, tmp_path, failure):
    """404 is final: no retries."""
    line = failure("dcase2018-task5", "--output", tmp_path, "--base-url", f"{server.url}/")
    assert line == (
        f"error: cannot download {server.url}/DCASE2018-task5-dev.doc.zip: the server returned 404 "
        "Not Found; try again later, or name a mirror with --base-url"
    )
    assert len(server.log) == 1


def test_an_unreachable_host_is_one_line_and_code_1(tmp_path, failure):
    with Server() as closed:
        url = closed.url
    line = failure("esc50", "--output", tmp_path, "--base-url", url, "--retries", "1")
    assert line.startswith(f"error: cannot download {url}/ESC-50-master.zip: ")
    assert "Connection refused" in line
    assert line.endswith("0 bytes are kept, the same command resumes")


def test_interrupted_by_the_keyboard(server, esc50, tmp_path):
    server.files["ESC-50-master.zip"] = esc50
    server.pause_after = 1000
    process: subprocess.Popen[str] = start(
        "beam_features.download", "esc50", "--output", tmp_path, "--base-url", server.url
    )
    assert server.paused.wait(30)
    process.send_signal(signal.SIGINT)
    *progress, last = process.communicate()[1].splitlines()
    assert process.returncode == 143
    assert len(progress) == 1
    assert last == "stopped: interrupted; the same command resumes"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--retries", "-1"], "--retries must be at least 0, not -1"),
        (
            ["--base-url", "ftp://x"],
            "--base-url must begin with http:// or https://, not 'ftp://x'",
        ),
        (
            ["--output", "gs://bucket"],
            "--output takes a local directory, not 'gs://bucket'; upload the result afterwards",
        ),
        (["--output", "file"], "--output takes a directory, but 'file' is a file"),
    ],
)
def test_bad_arguments_are_one_line_and_code_2(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    assert main(["esc50", "--output", "out", *words]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert not Path("out").exists()


def test_an_unknown_dataset_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["esc51", "--output", "out"])
    assert stop.value.code == 2
    assert "invalid choice: 'esc51'" in capsys.readouterr().err


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_the_catalogue_is_well_formed(dataset):
    names = [archive.name for archive in dataset.archives]
    assert len(set(names)) == len(names)
    for archive in dataset.archives:
        assert re.fullmatch(r"https://[\w./-]+\.zip", archive.url)
        assert archive.name.endswith(".zip")
        assert archive.size_bytes > 10_000
        if archive.checksum is not None:
            assert re.fullmatch(r"md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}", archive.checksum)
    assert dataset.licence
    assert all(pattern.split("/")[0] in dataset.roots for pattern, _ in dataset.required)
    assert dataset.input in ("", *dataset.roots)
    assert dataset.unpacked_bytes >= sum(archive.size_bytes for archive in dataset.archives)


def test_only_esc50_has_no_checksum():
    archives = [archive for dataset in DATASETS.values() for archive in dataset.archives]
    unchecked = [archive.name for archive in archives if archive.checksum is None]
    assert unchecked == ["ESC-50-master.zip"]
    checksums = [archive.checksum for archive in archives if archive.checksum]
    assert len(set(checksums)) == len(checksums) == 2 * 25 + 2


@pytest.mark.parametrize(
    ("name", "record", "prefix", "gigabytes"),
    [
        ("dcase2018-task5", 1247102, "DCASE2018-task5-dev", 45.8),
        ("dcase2018-task5-eval", 1964758, "DCASE2018-task5-eval", 45.3),
    ],
)
def test_dcase_has_documents_meta_data_and_23_parts(name, record, prefix, gigabytes):
    archives = DATASETS[name].archives
    kinds = ["doc", "meta", *(f"audio.{number}" for number in range(1, 24))]
    assert [archive.url for archive in archives] == [
        f"https://zenodo.org/records/{record}/files/{prefix}.{kind}.zip" for kind in kinds
    ]
    total = sum(archive.size_bytes for archive in archives)
    assert total / 1e9 == pytest.approx(gigabytes, abs=0.05)
