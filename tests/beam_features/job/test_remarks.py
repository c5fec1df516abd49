"""Silent, cancelled and equal recordings: counted per partition, named below the table."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from beam_features.job.duplicates import equal_sounds
from beam_features.job.remarks import remarks_on
from beam_features.schema.sources import Source, read_sources
from tests.beam_features.encoded import RATE_HZ, noisy_tone, tone
from tests.beam_features.job.conftest import one_error_line, read_info, read_rejected


def source(name: str, sha256: str = "", partition: str = "train", **fields: object) -> Source:
    values = {"audible_share": 1.0, "session": name} | fields
    return Source(
        name, f"/{name}", 1, 0.0, "", partition=partition, samples_sha256=sha256 or name, **values
    )


def remarks(sources: list[Source]) -> tuple[str, ...]:
    return remarks_on(sources, equal_sounds(sources))


def test_nothing_to_say():
    assert remarks([]) == ()
    assert remarks([source("a"), source("b"), source("c", audible_share=0.1)]) == ()


def test_silent_and_cancelled_recordings_are_named_three_of_each():
    silent = [source(f"s{n}", audible_share=0.0) for n in range(5)]
    both = source("antiphase", audible_share=0.0, cancelled=True)
    rejected = source("r", audible_share=0.0, rejected="truncated")
    assert remarks([*silent, both, rejected]) == (
        "silent: s0, s1, s2 and 3 more: training takes no anchors from them",
        "cancelled: antiphase: the mean of their channels is 20 dB or more below the channels; "
        "--set channels=first takes the first channel",
    )


def test_duplicates_of_one_session_do_no_harm():
    pair = [source("b", "1", session="a"), source("a", "1", session="a"), source("c")]
    assert remarks(pair) == ("duplicates: a = b: they hold the same samples",)


def test_duplicates_that_leak_and_those_that_are_opposites():
    sources = [
        *(source("a", "1"), source("b", "1", "test")),
        *(source("c", "2"), source("d", "2"), source("e", "2")),
        *(source("x", "3", audible_share=0.0), source("y", "3", "test", audible_share=0.0)),
    ]
    silent, duplicates, leaks, opposites = remarks(sources)
    assert silent.startswith("silent: x, y: ")
    assert duplicates == "duplicates: a = b, c = d = e: they hold the same samples"
    assert leaks == (
        "warning: duplicates in several partitions: a (train) = b (test): a model that has learned "
        "from one partition is tested on the same sound in another; remove one of each"
    )
    assert opposites == (
        "warning: duplicates in several sessions: c = d = e: training takes them as opposites; "
        "remove one of each"
    )


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """One of each kind, in the partitions that a table says."""
    root = tmp_path_factory.mktemp("library")

    def write(name: str, *channels: np.ndarray, **how: str) -> None:
        soundfile.write(root / name, np.stack(channels, axis=1), RATE_HZ, **how)

    write("good.wav", tone(3.0))
    write("silent.wav", np.zeros(48_000))
    write("antiphase.wav", noisy_tone(), -noisy_tone(), subtype="FLOAT")
    write("nearly.wav", noisy_tone(), -0.95 * noisy_tone())
    write("song.wav", tone(2.0, frequency_hz=300.0))
    write("song.flac", *soundfile.read(root / "song.wav", always_2d=True)[0].T)
    shutil.copy(root / "song.wav", root / "copy.wav")
    write("loud.wav", np.append(tone(), 1e25), subtype="FLOAT")
    partitions = {"song.flac": "test", "good.wav": "test"}
    rows = [f"{p.name},{partitions.get(p.name, 'train')}" for p in sorted(root.iterdir())]
    (root / "table.csv").write_text("\n".join(["uri,partition", *rows]))
    return root


def test_all_kinds_in_one_run(library, run_job, tmp_path, capsys):
    options = ("--dataset", "csv", "--max-failure-rate", "0.2")
    assert run_job(library / "table.csv", tmp_path / "out", *options) == 0
    stdout, stderr = capsys.readouterr()
    assert "1 of 8 files are copies of another; copies share a session" in stderr
    table = [
        "partition      recordings     silent  cancelled duplicates     strips      tiles"
        "      hours",
        "test                    2          0          0          1          2          5"
        "       0.00",
        "train                   5          2          2          1          5         19"
        "       0.01",
        "silent: antiphase.wav, silent.wav: training takes no anchors from them",
        "cancelled: antiphase.wav, nearly.wav: the mean of their channels is 20 dB or more below "
        "the channels; --set channels=first takes the first channel",
        "duplicates: copy.wav = song.flac = song.wav: they hold the same samples",
        "warning: duplicates in several partitions: copy.wav (train) = song.flac (test) = song.wav "
        "(train): a model that has learned from one partition is tested on the same sound in "
        "another; remove one of each",
    ]
    assert stdout.splitlines()[: len(table)] == table
    (rejected,) = read_rejected(tmp_path / "out")
    assert (rejected["uri"], rejected["reason"]) == (f"{library}/loud.wav", "out_of_range")
    assert list(read_info(tmp_path / "out").remarks) == table[3:]
    sources = {s.recording: s for s in read_sources(str(tmp_path / "out/sources.parquet"))}
    assert [name for name, s in sources.items() if s.cancelled] == ["antiphase.wav", "nearly.wav"]
    assert sources["silent.wav"].audible_share == 0.0
    assert sources["copy.wav"].session == sources["song.wav"].session == "copy.wav"
    assert run_job(library / "table.csv", tmp_path / "out", *options) == 0
    assert capsys.readouterr().out == stdout


def test_the_first_channel_is_not_cancelled(library, run_job, tmp_path):
    options = ("--max-failure-rate", "0.2", "--set", "channels=first")
    assert run_job(library, tmp_path / "out", *options) == 0
    parts = read_info(tmp_path / "out").partitions.values()
    assert (sum(p.cancelled for p in parts), sum(p.silent for p in parts)) == (0, 1)


def test_empty_filters_are_refused_before_anything_is_deleted(
    complete, songs, run_job, contents, capsys
):
    before = contents(complete)
    assert run_job(songs, complete, "--overwrite", "--set", "n_mels=256") == 2
    assert one_error_line(capsys) == (
        "error: 24 of n_mels=256 mel filters are empty: fft_length=512 is too coarse for them; "
        "set n_mels to 189, or set fft_length to 1024"
    )
    assert contents(complete) == before
