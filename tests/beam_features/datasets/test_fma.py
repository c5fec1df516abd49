"""FMA's table with its three header rows."""

import csv

import pytest

from beam_features.datasets.fma import list_recordings
from beam_features.recording import Recording
from dem.errors import InputError

COLUMNS = [  # of the real table: repeated names, the wanted ones in between
    ("", "", "track_id"),
    ("album", "id", ""),
    ("artist", "bio", ""),
    ("artist", "id", ""),
    ("set", "split", ""),
    ("set", "subset", ""),
    ("track", "bit_rate", ""),
    ("track", "genre_top", ""),
]
TRACKS = [  # track, artist, split, subset, genre
    (2, 1, "training", "small", "Hip-Hop"),
    (5, 1, "validation", "small", "Hip-Hop"),
    (140, 54, "test", "medium", "Folk"),
    (155000, 6, "training", "large", ""),
    (200, 7, "test", "", "Rock"),
]


@pytest.fixture
def fma(tmp_path):
    """Make the table and an audio directory with a file in it."""

    def fma(*archives, tracks=TRACKS, columns=COLUMNS):
        (tmp_path / "fma_metadata").mkdir()
        with (tmp_path / "fma_metadata" / "tracks.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerows(zip(*columns, strict=True))
            for track, artist, split, subset, genre in tracks:
                bio = '<p>é,\n"' * 40_000  # longer than Python's reader takes by default
                row = [track, 1, bio, artist, split, subset, 320_000, genre]
                table.writerow(row[: len(columns)])
        for archive in archives:
            (tmp_path / archive / "000").mkdir(parents=True)
            (tmp_path / archive / "000" / "000002.mp3").touch()
        return str(tmp_path)

    return fma


def write_table(root, columns, *rows):
    with open(f"{root}/fma_metadata/tracks.csv", "w", newline="") as file:
        csv.writer(file).writerows([*zip(*columns, strict=True), *rows])


def refusal_of(root):
    with pytest.raises(InputError) as refusal:
        list_recordings(root)
    return str(refusal.value)


def test_rows_become_recordings(fma):
    root = fma("fma_small")
    listing = list_recordings(root)
    assert listing.skipped == ()
    assert listing.recordings == tuple(
        Recording(
            number,
            f"{root}/fma_small/000/{number}.mp3",
            "Hip-Hop",
            partition,
            context_id=number,
            session_id="artist 1",
        )
        for number, partition in [("000002", "train"), ("000005", "validation")]
    )


@pytest.mark.parametrize(
    ("archive", "numbers"),
    [
        ("fma_small", ["000002", "000005"]),
        ("fma_medium", ["000002", "000005", "000140"]),
        ("fma_large", ["000002", "000005", "000140", "155000"]),
    ],
)
def test_larger_archives_hold_the_smaller_subsets(fma, archive, numbers):
    root = fma(archive)
    recordings = list_recordings(root).recordings
    assert [r.recording_id for r in recordings] == numbers
    assert [r.uri for r in recordings] == [f"{root}/{archive}/{n[:3]}/{n}.mp3" for n in numbers]


def test_track_without_a_top_genre_has_no_label(fma):
    labels = {r.recording_id: r.label for r in list_recordings(fma("fma_large")).recordings}
    assert labels["155000"] is None


def test_reader_limits_are_left_as_they_were(fma):
    before = csv.field_size_limit()
    list_recordings(fma("fma_small"))
    assert csv.field_size_limit() == before


def test_title_artist_and_album_are_further_columns(fma):
    named = [
        *COLUMNS[:4],
        ("artist", "name", ""),
        ("track", "title", ""),
        ("album", "title", ""),
        *COLUMNS[4:],
    ]
    root = fma("fma_small", tracks=[])
    write_table(root, named, [2, 1, "", 7, "AWOL ", "Food\nfight", "", "training", "small", 1, ""])
    listing = list_recordings(root)
    (recording,) = listing.recordings
    assert recording.columns == (("title", "Food fight"), ("artist", "AWOL"))
    assert (recording.label, recording.session_id) == (None, "artist 7")
    assert listing.remarks == (
        "artist.name: 1 row normalised, such as 'AWOL ' to 'AWOL'",
        r"track.title: 1 row normalised, such as 'Food\nfight' to 'Food fight'",
    )


def test_tracks_without_an_artist_are_sessions_of_their_own(fma):
    tracks = [(2, "", "training", "small", ""), (5, " ", "training", "small", "")]
    listing = list_recordings(fma("fma_small", tracks=tracks))
    assert [r.session_id for r in listing.recordings] == ["000002", "000005"]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (("²", 1, "training", "small", ""), "track_id: '²' is not the number of a track"),
        (("1234567", 1, "training", "small", ""), "track_id: '1234567' is not the number of a "),
        (("", 1, "training", "small", ""), "track_id: the cell is empty; fill it, or remove"),
        ((3, 1, "training", "tiny", ""), "set.subset: 'tiny' is none of small, medium, large"),
        ((3, 1, "", "small", ""), "set.split: the cell is empty; fill it, or remove the row"),
    ],
)
def test_invalid_tracks_are_refused_by_line_and_column(fma, track, message):
    root = fma("fma_small", tracks=[track])
    assert f"tracks.csv', line 4, column {message}" in refusal_of(root)


@pytest.mark.parametrize(
    ("archives", "found"),
    [((), "none"), (("fma_small", "fma_large"), "fma_small and fma_large")],
)
def test_one_archive_is_needed(fma, archives, found):
    root = fma(*archives)
    assert refusal_of(root) == (
        f"{root!r} must hold one of fma_small, fma_medium, fma_large with mp3 files in it, not "
        f"{found}; --input takes the directory that holds it and fma_metadata/"
    )


def test_missing_table_is_refused(fma, tmp_path):
    root = fma("fma_small")
    (tmp_path / "fma_metadata" / "tracks.csv").unlink()
    assert refusal_of(root) == (
        f"'{root}/fma_metadata/tracks.csv' does not exist; --input takes the directory that holds "
        "fma_metadata/ and fma_small/"
    )


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (COLUMNS[:-1], "track.genre_top"),
        ([(name, "", "") for _, name, _ in COLUMNS], "set.subset, set.split, track.genre_top, "),
    ],
    ids=["one column less", "one header row"],
)
def test_table_of_another_form_is_refused(fma, columns, missing):
    message = refusal_of(fma("fma_small", columns=columns))
    assert f"fma_metadata/tracks.csv' has no column {missing}" in message
    assert message.endswith("; it must be FMA's own table, with its three header rows")


def test_table_that_is_cut_off_is_refused(fma, tmp_path):
    root = fma("fma_small")
    with (tmp_path / "fma_metadata" / "tracks.csv").open("a") as file:
        file.write("300,1,bio\n")
    assert refusal_of(root).endswith(
        "tracks.csv', line 200009, column artist.id: the row has 3 of 8 cells; "
        "the table may be truncated"
    )


def test_table_without_a_track_of_the_archive_is_refused(fma):
    root = fma("fma_small", tracks=TRACKS[2:])
    assert refusal_of(root) == (
        f"'{root}/fma_metadata/tracks.csv' has no track of the subset of fma_small; "
        "download it again"
    )


def test_unknown_split_is_refused(fma):
    root = fma("fma_small", tracks=[(2, 1, "dev", "small", "Rock")])
    assert refusal_of(root) == (
        f"'{root}/fma_metadata/tracks.csv', line 4, column set.split: 'dev' is none of training, "
        "validation, test"
    )
