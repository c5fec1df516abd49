"""The index: what a rerun keeps, changes and drops, and that it equals a fresh build."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dem.errors import InputError, JobError
from similarity.commands.index import main
from similarity.index.library import open_library
from similarity.search.duplicates import duplicate_groups
from tests.similarity.libraries import MadeUp, direction, write_vectors

SONGS = [MadeUp(f"{name}.wav", direction(angle)) for angle, name in enumerate("abcd")]


def index(vectors: Path, output: Path, *options: str) -> dict[str, bytes]:
    """Run the command; give the bytes of every file of the index."""
    assert main([str(vectors), "--output", str(output), *options]) == 0
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


def test_a_song_is_the_mean_and_maximum_of_its_audible_tiles(tmp_path):
    songs = [
        MadeUp("loud.wav", (3.0, 4.0, *[0.0] * 6), tiles=2),
        MadeUp("half.wav", (0.0, 2.0, *[0.0] * 6), tiles=4, silent=2),
    ]
    index(write_vectors(tmp_path / "v", songs), tmp_path / "i")
    with open_library(str(tmp_path / "i")) as library:
        assert library.recordings == ["half.wav", "loud.wav"]
        expected = np.array([0.6, 0.8] + [0.0] * 6) / np.sqrt(2)
        np.testing.assert_allclose(library.unit[1], [*expected, *expected], atol=1e-6)
        half = library.song(0)
        assert (half.audible_share, half.tiles, half.seconds) == (0.5, 2, 60.0)
        tiles, starts = library.tile_vectors(0)
        np.testing.assert_allclose(tiles, [[0, 1, *[0] * 6]] * 2, atol=1e-3)
        assert starts.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda songs: [*songs, MadeUp("e.wav", direction(0.5))],
            "1 new, 0 changed, 4 kept, 0 gone",
        ),
        (
            lambda songs: [replace(songs[0], version="2", direction=direction(0.7)), *songs[1:]],
            "0 new, 1 changed, 3 kept, 0 gone",
        ),
        (lambda songs: songs[1:], "0 new, 0 changed, 3 kept, 1 gone"),
    ],
    ids=["added", "changed", "dropped"],
)
def test_an_update_equals_a_fresh_build(tmp_path, capsys, change, said):
    index(write_vectors(tmp_path / "v", SONGS), tmp_path / "i")
    vectors = write_vectors(tmp_path / "v", change(SONGS), rows_per_group=4)
    updated = index(vectors, tmp_path / "i", "--prune")
    assert said in capsys.readouterr().out
    assert updated == index(vectors, tmp_path / "fresh")


def test_without_prune_songs_that_are_gone_stay(tmp_path, capsys):
    index(write_vectors(tmp_path / "v", SONGS), tmp_path / "i")
    index(write_vectors(tmp_path / "v", SONGS[1:]), tmp_path / "i")
    assert "0 new, 0 changed, 4 kept, 0 gone" in capsys.readouterr().out


def test_nothing_changed_writes_nothing(tmp_path):
    vectors = write_vectors(tmp_path / "v", SONGS)
    index(vectors, tmp_path / "i")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "i").iterdir()}
    index(vectors, tmp_path / "i")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "i").iterdir()} == before


def test_vectors_of_another_model_are_refused(tmp_path, capsys):
    index(write_vectors(tmp_path / "v", SONGS), tmp_path / "i")
    other = write_vectors(tmp_path / "other", SONGS, model="cd" * 32)
    assert main([str(other), "--output", str(tmp_path / "i")]) == 2
    assert "made by a model of sha256 abababababab, the vectors by cdcdcdcdcdcd" in (
        capsys.readouterr().err
    )


def test_tiles_of_two_recordings_may_alternate(tmp_path):
    """As those of several microphones in one session do."""
    plain = write_vectors(tmp_path / "v", SONGS, rows_per_group=3)
    expected = index(plain, tmp_path / "i")
    file = plain / "recordings.parquet"
    table = pq.read_table(file)
    order = np.argsort(table["start_s"].to_numpy(), kind="stable")
    pq.write_table(table.take(order), file, row_group_size=3)
    assert index(plain, tmp_path / "other") == expected


def test_a_library_of_silence_and_an_empty_one(tmp_path):
    silent = [MadeUp("s.wav", direction(0), tiles=2, silent=2)]
    index(write_vectors(tmp_path / "v", silent), tmp_path / "i")
    with open_library(str(tmp_path / "i")) as library:
        assert library.song(0).audible_share == 0
    index(write_vectors(tmp_path / "none", []), tmp_path / "empty")
    with pytest.raises(InputError, match="is empty; index a directory"):
        open_library(str(tmp_path / "empty")).__enter__()


def test_a_vector_that_is_not_finite_is_an_error(tmp_path, capsys):
    broken = [MadeUp("nan.wav", (float("nan"), *[0.0] * 7))]
    assert main([str(write_vectors(tmp_path / "v", broken)), "--output", str(tmp_path / "i")]) == 1
    assert "a vector of 'nan.wav' is not finite" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--input", "x"], ["--model", "x", "v"], []])
def test_arguments_that_do_not_belong_together(tmp_path, capsys, arguments):
    assert main([*arguments, "--output", str(tmp_path)]) == 2
    assert "error: " in capsys.readouterr().err


def test_vectors_that_are_not_there(tmp_path, capsys):
    assert main([str(tmp_path / "none"), "--output", str(tmp_path / "i")]) == 2
    assert "make them with dem embed" in capsys.readouterr().err


def test_killed_at_any_moment_the_next_run_completes_it(tmp_path):
    random = np.random.default_rng(0)
    many = [MadeUp(f"{n}.wav", tuple(random.normal(size=8)), tiles=40) for n in range(400)]
    fresh = index(write_vectors(tmp_path / "v", many), tmp_path / "fresh")
    index(write_vectors(tmp_path / "half", many[:200]), tmp_path / "i")
    command = [sys.executable, "-m", "similarity.commands.index", str(tmp_path / "v")]
    for delay_s in (0.35, 0.5, 0.65):
        process = subprocess.Popen([*command, "--output", str(tmp_path / "i"), "--prune"])
        time.sleep(delay_s)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert index(tmp_path / "v", tmp_path / "i", "--prune") == fresh
    assert json.loads((tmp_path / "i" / "index_info.json").read_text())["songs"] == 400


def test_without_a_table_of_files_the_length_is_that_of_the_tiles(tmp_path):
    songs = [MadeUp("long", direction(0), tiles=12), MadeUp("one tile", direction(1), tiles=1)]
    vectors = write_vectors(tmp_path / "v", songs)
    (vectors / "_sources.parquet").unlink()
    assert main([str(vectors), "--output", str(tmp_path / "i")]) == 0
    with open_library(str(tmp_path / "i")) as library:
        assert library.column("seconds") == [12.0, 0.0]


def test_an_index_that_has_lost_a_file_is_built_anew(tmp_path, capsys, caplog):
    vectors = write_vectors(tmp_path / "v", SONGS)
    fresh = index(vectors, tmp_path / "i")
    (lost,) = (tmp_path / "i").glob("tiles-*.npy")
    lost.unlink()
    capsys.readouterr()
    assert index(vectors, tmp_path / "i") == fresh
    captured = capsys.readouterr()
    assert f"{lost} is missing; the index is built anew" in captured.err + caplog.text
    assert "4 new, 0 changed, 0 kept, 0 gone" in captured.out


def test_a_marker_of_another_build_does_not_count(tmp_path):
    """As a build leaves it that is killed after its songs appeared."""
    index(write_vectors(tmp_path / "v", SONGS[:3]), tmp_path / "i")
    marker = tmp_path / "i" / "index_info.json"
    before = marker.read_bytes()
    vectors = write_vectors(tmp_path / "v", SONGS)
    after = index(vectors, tmp_path / "i")
    marker.write_bytes(before)
    with open_library(str(tmp_path / "i")) as library:
        assert len(library) == 4
    assert index(vectors, tmp_path / "i") == after


def test_an_index_that_is_built_again_while_it_is_read(tmp_path):
    index(write_vectors(tmp_path / "v", SONGS[:3]), tmp_path / "i")
    with open_library(str(tmp_path / "i")) as library:
        index(write_vectors(tmp_path / "v", SONGS), tmp_path / "i")
        assert len(library) == len(library.unit) == 3
        with pytest.raises(JobError, match="was built again meanwhile; run the command again"):
            library.tile_vectors(0)


@pytest.mark.parametrize("content", [b"", b"no Parquet", b"PAR1" * 9])
def test_songs_that_are_corrupt(tmp_path, capsys, content):
    vectors = write_vectors(tmp_path / "v", SONGS)
    index(vectors, tmp_path / "i")
    (tmp_path / "i" / "songs.parquet").write_bytes(content)
    assert main([str(vectors), "--output", str(tmp_path / "i")]) == 2
    assert "songs.parquet is corrupt" in capsys.readouterr().err


def test_vectors_whose_marker_or_files_are_not_as_they_should_be(tmp_path, capsys):
    vectors = write_vectors(tmp_path / "v", SONGS)
    (vectors / "recordings.parquet").unlink()
    assert main([str(vectors), "--output", str(tmp_path / "i")]) == 1
    assert "recordings.parquet is missing; make the vectors again" in capsys.readouterr().err
    (vectors / "_embeddings_info.json").write_text("{}")
    assert main([str(vectors), "--output", str(tmp_path / "i")]) == 2
    assert "_embeddings_info.json is corrupt; make" in capsys.readouterr().err


@pytest.mark.slow
def test_two_thousand_songs_with_artists_and_copies(tmp_path):
    """Added, changed, dropped and killed in the middle: the same bytes as a fresh build."""
    random = np.random.default_rng(1)
    many = [
        MadeUp(
            f"artist {n % 90}/{n:04}.ogg",
            tuple(random.normal(size=8)),
            tiles=30,
            seconds=100 + n % 50,
            columns={"artist": f"artist {n % 90}", "year": str(1950 + n % 70)},
        )
        for n in range(1900)
    ]
    many += [replace(song, recording=f"copies/{song.recording[-8:]}") for song in many[:100]]
    index(write_vectors(tmp_path / "v", many), tmp_path / "i")
    changed = [
        replace(song, version="2", direction=direction(n)) for n, song in enumerate(many[:7])
    ]
    extra = [replace(many[9], recording=f"new/{n}.ogg") for n in range(20)]
    now = [*changed, *many[7:1500], *many[1600:], *extra]
    fresh = index(write_vectors(tmp_path / "v", now), tmp_path / "fresh", "--approximate")
    command = [sys.executable, "-m", "similarity.commands.index", str(tmp_path / "v")]
    for delay_s in (0.5, 0.8, 1.2, 1.8):
        process = subprocess.Popen([*command, "--output", str(tmp_path / "i"), "--prune"])
        time.sleep(delay_s)
        process.kill()
        process.wait()
        with open_library(str(tmp_path / "i")) as library:
            assert len(library) in (2000, 1920)
    updated = index(tmp_path / "v", tmp_path / "i", "--prune", "--approximate")
    graphs = {name for name in fresh if name.startswith("graph-")}
    assert updated.keys() == fresh.keys()
    assert all(updated[name] == fresh[name] for name in fresh.keys() - graphs)
    with open_library(str(tmp_path / "i")) as library:
        assert sum(len(rows) - 1 for rows in duplicate_groups(library)) >= 100
