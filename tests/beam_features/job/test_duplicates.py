"""Equal recordings: found by bytes and by samples, in one session and one drawn partition."""

import os

import pytest

from beam_features.job.duplicates import equal_files, equal_sounds, share_sessions
from beam_features.recording import Recording
from beam_features.schema.sources import Source
from dem import storage
from dem.access import FileVersion

HEAD = b"RIFF" + bytes(20_000)  # files that begin, and end, alike


@pytest.fixture
def files(tmp_path):
    """Write files; return their versions."""

    def files(**contents: bytes) -> dict[str, FileVersion]:
        for name, content in contents.items():
            (tmp_path / name).write_bytes(content)
        return storage.file_versions(str(tmp_path / name) for name in contents)

    return files


def names_of(groups: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(map(os.path.basename, group)) for group in groups]


def test_equal_files(files):
    versions = files(
        a=HEAD + b"1" + HEAD,
        b=HEAD + b"2" + HEAD,
        c=HEAD + b"1" + HEAD,
        early=b"x" + HEAD[1:] + b"1" + HEAD,  # equal in the middle
        short=HEAD,
        copy=HEAD,
        third=HEAD,
        empty=b"",
        void=b"",
        one=b"1",
        two=b"2",
    )
    assert sorted(names_of(equal_files(versions, print))) == [
        ("a", "c"),
        ("copy", "short", "third"),
    ]


def test_files_of_other_sizes_are_not_read(files, tmp_path):
    versions = files(a=b"1", b=b"22", c=b"333")
    for path in tmp_path.iterdir():
        path.unlink()  # reading would find nothing equal, not fail
    assert equal_files(versions, print) == []


def test_unreadable_and_missing_files_are_left_to_the_job(files, tmp_path):
    versions = files(a=HEAD, b=HEAD, c=HEAD)
    (tmp_path / "a").unlink()
    assert names_of(equal_files(versions, print)) == [("b", "c")]


def test_objects_are_compared_by_the_checksums_of_their_listing():
    """They do not exist: reading them would leave them out."""
    checksums = {"gs://b/1": "md5 A", "gs://b/2": "md5 A", "gs://b/3": "md5 B", "gs://b/4": None}
    versions = {uri: FileVersion(5, 0.0, "", checksum) for uri, checksum in checksums.items()}
    del versions["gs://b/4"]
    assert equal_files(versions, print) == [("gs://b/1", "gs://b/2")]


def recording(name: str, session: str = "", sensor: str = "", **more: object) -> Recording:
    fields = {"partition": "train", "drawn": True} | more
    return Recording(name, f"/{name}", None, context_id=name, session_id=session or name,
                     sensor_id=sensor, **fields)  # fmt: skip


def sessions_of(recordings: tuple[Recording, ...]) -> dict[str, str]:
    return {r.recording_id: r.session_id for r in recordings}


def test_equal_files_share_a_session_and_the_drawn_partition():
    recordings = [recording(f"{n:03}") for n in range(200)]
    groups = [("/000", "/199"), ("/001", "/005", "/009"), ("/009", "/010")]
    shared = share_sessions(recordings, groups)
    expected = {r.recording_id: r.recording_id for r in recordings} | {"199": "000"}
    assert sessions_of(shared) == expected | dict.fromkeys(("005", "009", "010"), "001")
    partitions = {r.recording_id: r.partition for r in shared}
    assert partitions["199"] == partitions["000"]
    assert len({partitions[name] for name in ("001", "005", "009", "010")}) == 1


def test_sessions_follow_their_recordings_as_a_whole():
    """Song 1 of an artist is a copy of one of another artist: song 2 is in their session too."""
    recordings = [
        recording("1", "artist b"),
        recording("2", "artist b"),
        recording("3", "artist a"),
        recording("4", "artist c"),
    ]
    shared = sessions_of(share_sessions(recordings, [("/1", "/3")]))
    assert shared == {"1": "artist a", "2": "artist a", "3": "artist a", "4": "artist c"}


def test_fixed_partitions_stay():
    recordings = [
        recording("1", partition="fold1", drawn=False),
        recording("2", partition="fold2", drawn=False),
    ]
    shared = share_sessions(recordings, [("/1", "/2")])
    assert [(r.session_id, r.partition) for r in shared] == [("1", "fold1"), ("1", "fold2")]


def test_sessions_of_sensors_are_not_united():
    """Their contexts have one clock: an equal second would make all other seconds neighbours."""
    recordings = (recording("1", "a", "node1"), recording("2", "b", "node1"))
    assert share_sessions(recordings, [("/1", "/2")]) == recordings


def test_without_equal_files_nothing_changes():
    recordings = (recording("1"), recording("2"))
    assert share_sessions(recordings, []) == recordings


def test_equal_sounds():
    def source(name: str, sha256: str | None, audible_share: float = 0.0, **fields: str) -> Source:
        measured = {"audible_share": audible_share, "samples_sha256": sha256}
        return Source(name, f"/{name}", 1, 0.0, "", **measured, **fields)

    sources = [
        source("c", "1", 1.0),
        source("a", "1", 0.5),
        source("b", "2", 1.0),
        source("r", None, rejected="truncated"),
        source("q", None, rejected="truncated"),
        source("silent", "3"),
        source("quiet", "3"),
    ]
    assert [[s.recording for s in group] for group in equal_sounds(sources)] == [["a", "c"]]
