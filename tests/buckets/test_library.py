"""The index of a library in a bucket: built, brought up to date, asked, killed and built twice."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.buckets.commands import run_in, start_in
from tests.buckets.faults import Fault
from tests.buckets.storage_service import StorageService
from tests.processes import error_line
from tests.similarity.libraries import MadeUp, direction, write_vectors

SONGS = [MadeUp(f"{name}.wav", direction(angle / 4)) for angle, name in enumerate("abcdef")]
ARRAYS = ("starts", "surroundings", "tiles", "vectors")


def put_vectors(gcs: StorageService, bucket: str, local: Path, songs: list[MadeUp]) -> None:
    gcs.upload(write_vectors(local, songs), bucket, "vectors")


def index_command(bucket: str, *options: str) -> tuple[str, ...]:
    return (
        *("dem", "index", f"gs://{bucket}/vectors"),
        "--output",
        f"gs://{bucket}/index",
        *options,
    )


def put_index(gcs: StorageService, bucket: str, *options: str) -> None:
    built = run_in(gcs, *index_command(bucket, *options))
    assert built.returncode == 0, built.stderr


def most_like_a(gcs: StorageService, bucket: str) -> list[str]:
    words = ("--index", f"gs://{bucket}/index", "--hubs", "none", "--format", "json")
    found = run_in(gcs, "dem", "similar", "a.wav", *words)
    assert found.returncode == 0, found.stderr
    return [result["recording"] for result in json.loads(found.stdout)["results"]]


def build_of(gcs: StorageService, bucket: str) -> str:
    return str(json.loads(gcs.read(bucket, "index/index_info.json"))["build"])


def files_of(build: str) -> list[str]:
    arrays = [f"index/{name}-{build}.npy" for name in ARRAYS]
    return sorted([*arrays, "index/index_info.json", "index/songs.parquet"])


def test_built_updated_and_asked(gcs: StorageService, bucket: str, tmp_path: Path) -> None:
    put_vectors(gcs, bucket, tmp_path / "v", SONGS[:4])
    put_index(gcs, bucket)
    assert most_like_a(gcs, bucket) == ["b.wav", "c.wav", "d.wav"]
    first = build_of(gcs, bucket)

    moved = replace(SONGS[1], version="2", direction=direction(1.5))
    put_vectors(gcs, bucket, tmp_path / "v", [SONGS[0], moved, *SONGS[3:]])
    put_index(gcs, bucket, "--prune")
    assert most_like_a(gcs, bucket) == ["d.wav", "e.wav", "f.wav", "b.wav"]
    second = build_of(gcs, bucket)
    assert second != first
    assert gcs.names(bucket, "index/") == files_of(second)


@pytest.mark.slow
def test_a_killed_build_leaves_the_index_as_it_was_or_as_it_will_be(
    gcs: StorageService, bucket: str, tmp_path: Path
) -> None:
    put_vectors(gcs, bucket, tmp_path / "v", SONGS[:4])
    put_index(gcs, bucket)
    put_vectors(gcs, bucket, tmp_path / "v", SONGS)
    old = ["b.wav", "c.wav", "d.wav"]
    for uploads, expected in ((4, old), (5, [*old, "e.wav", "f.wav"])):  # the fifth is of the songs
        stuck = Fault("upload.*uploadType=(resumable|multipart)", 503, ("POST",), after=uploads)
        with gcs.inject(stuck):
            writer = start_in(gcs, *index_command(bucket))
            while not stuck.hits:
                assert writer.poll() is None, writer.communicate()
            writer.kill()
            writer.communicate()
        assert most_like_a(gcs, bucket) == expected
    put_index(gcs, bucket)
    assert gcs.names(bucket, "index/") == files_of(build_of(gcs, bucket))


@pytest.mark.slow
def test_two_builds_at_the_same_time_leave_one_of_them(
    gcs: StorageService, bucket: str, tmp_path: Path
) -> None:
    """The later one starts again from what the earlier one left, so nothing is lost."""
    put_vectors(gcs, bucket, tmp_path / "v", SONGS[:2])
    put_index(gcs, bucket)
    put_vectors(gcs, bucket, tmp_path / "v", SONGS[:4])
    slow = Fault("upload.*uploadType=resumable", 503, ("POST",), after=3, times=1)
    with gcs.inject(slow):
        late = start_in(gcs, *index_command(bucket))
        while not slow.hits:
            assert late.poll() is None, late.communicate()
        late.send_signal(signal.SIGSTOP)  # before its next try
        put_vectors(gcs, bucket, tmp_path / "v", SONGS[4:])
        put_index(gcs, bucket)
        late.send_signal(signal.SIGCONT)
        _, stderr = late.communicate(timeout=120)
    assert late.returncode == 1, stderr
    assert stderr.splitlines()[-1] == (
        f"error: another dem index has changed gs://{bucket}/index meanwhile; "
        "run the same command again"
    )
    assert most_like_a(gcs, bucket) == ["b.wav", "e.wav", "f.wav"]
    put_vectors(gcs, bucket, tmp_path / "v", SONGS[:4])
    put_index(gcs, bucket)
    assert most_like_a(gcs, bucket) == [song.recording for song in SONGS[1:]]
    assert gcs.names(bucket, "index/") == files_of(build_of(gcs, bucket))


@pytest.mark.parametrize("command", ["index", "similar"])
def test_a_bucket_that_refuses_or_is_missing_is_a_bad_argument(
    gcs: StorageService, bucket: str, command: str
) -> None:
    def words(place: str) -> tuple[str, ...]:
        index = ("dem", "index", f"{place}/vectors", "--output", f"{place}/index")
        return index if command == "index" else ("dem", "similar", "a", "--index", f"{place}/index")

    missing = run_in(gcs, *words("gs://no-such-bucket"))
    assert missing.returncode == 2, missing.stderr
    assert "there is no bucket gs://no-such-bucket" in error_line(missing)
    with gcs.inject(Fault(f"/{bucket}", 403)):
        refused = run_in(gcs, *words(f"gs://{bucket}"))
    assert refused.returncode == 2, refused.stderr
    assert f"permission denied for gs://{bucket}/" in error_line(refused)
