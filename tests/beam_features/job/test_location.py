"""The output does not lie among the audio files, whatever the directory is called."""

import pytest

from beam_features.job.location import check_apart, check_not_within
from beam_features.recording import Recording
from dem.errors import InputError


def recording(uri: str) -> Recording:
    return Recording(uri, uri, None, "train", uri, uri)


@pytest.fixture
def music(tmp_path):
    (tmp_path / "Music" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "Music")
    return tmp_path / "Music"


@pytest.mark.parametrize(
    ("output", "where"),
    [
        ("Music", "is"),
        ("Music/", "is"),
        ("link", "is"),
        ("Music/a/..", "is"),
        ("Music/features", "is inside"),
        ("Music/a", "is inside"),
        ("link/new/features", "is inside"),
        ("features/../Music/features", "is inside"),
    ],
)
def test_among_the_files_of_a_local_directory(music, tmp_path, output, where):
    output = f"{tmp_path}/{output}"
    with pytest.raises(InputError) as refusal:
        check_not_within(output, str(music))
    assert str(refusal.value) == (
        f"--output {output!r} {where} --input '{music}': the shards would lie among the audio "
        "files; choose another --output"
    )


@pytest.mark.parametrize("output", ["gs://b/Music", "gs://b/Music/x", "gs://b//Music//x/"])
@pytest.mark.parametrize("source", ["gs://b/Music", "gs://b/Music/", "gs://b", "gs://b/"])
def test_among_the_objects_of_a_bucket(source, output):
    with pytest.raises(InputError, match="the shards would lie among the audio files"):
        check_not_within(output, source)


def test_in_the_directory_of_the_files_of_a_table(music, tmp_path):
    recordings = [recording(f"{music}/a/1.wav")]
    with pytest.raises(InputError, match="holds recordings: the shards would lie among"):
        check_apart(recordings, f"{tmp_path}/link/a/")
    check_apart(recordings, f"{tmp_path}/features")


def test_files_within_what_is_deleted_at_the_end(tmp_path):
    source = tmp_path / "out" / "incomplete" / "Music"
    source.mkdir(parents=True)
    with pytest.raises(InputError, match="which is deleted once the features are complete"):
        check_apart([recording(f"{source}/1.wav")], f"{tmp_path}/out")


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("gs://b/Music", "gs://b/Music2"),
        ("gs://b/Music", "gs://b"),
        ("gs://b/Music", "/gs/b/Music"),
        ("sample:0", "sample:0"),
    ],
)
def test_apart(source, output):
    check_not_within(output, source)
    if source != output:
        check_apart([recording(f"{source}/1.wav")], output)


def test_beside_and_above(music, tmp_path):
    for output in ("Music2", "features", ".", "Music/../features"):
        check_not_within(f"{tmp_path}/{output}", str(music))
        check_apart([recording(f"{music}/a/1.wav")], f"{tmp_path}/{output}")
