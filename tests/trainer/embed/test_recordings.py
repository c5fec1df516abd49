"""Reruns on the same output: what is kept, what is made, and that the result is a fresh run's."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.sources import read_sources
from dem.errors import InputError, JobError, Terminated
from tests.beam_features.conftest import write_noise
from tests.processes import start
from tests.trainer.models import make_encoder
from trainer.embed import increments
from trainer.embed.recordings import embed_recordings
from trainer.model.export import export_encoder

SPEC = FeatureSpec(n_mels=16, tile_s=0.16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    export_encoder(make_encoder(SPEC), SPEC, str(directory))
    return str(directory / "export/encoder.keras")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    root = tmp_path / "music"
    for number in range(6):
        write_noise(root / f"{number % 2}/{number}.wav", 0.1 + number, 16_000, number)
    return root


class Stop:
    """Raises `Terminated` at the given call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            raise Terminated("now")


def embed(
    model: str, output: Path, *inputs: Path, overwrite: bool = False, stop_at: int = 10**6
) -> None:
    embed_recordings(
        model,
        [str(uri) for uri in inputs],
        str(output),
        overwrite=overwrite,
        max_failure_rate=0.3,
        stop_if_terminated=Stop(stop_at),
    )


def content(output: Path) -> dict[str, bytes]:
    """All files but the marker, which names the input."""
    assert (output / "_embeddings_info.json").is_file()
    names = {path.name for path in output.iterdir()}
    assert names == {"_embeddings_info.json", "_sources.parquet", "recordings.parquet"}
    return {name: (output / name).read_bytes() for name in names if name.endswith(".parquet")}


def change(music: Path) -> None:
    """Add, change, remove and break a file each."""
    write_noise(music / "0/10.wav", 0.7, 16_000, 10)
    write_noise(music / "1/3.wav", 1.3, 16_000, 11)
    (music / "0/2.wav").unlink()
    (music / "1/5.wav").write_text("these are words")


def test_sources_say_what_was_in_each_file(model: str, music: Path, tmp_path: Path) -> None:
    samples = np.zeros(16_000 * 2)
    samples[:8_000] = np.random.default_rng(0).normal(0, 0.1, 8_000)
    soundfile.write(music / "0/half.flac", samples, 16_000)
    (music / "words.wav").write_text("these are words")
    embed(model, tmp_path / "out", music)
    sources = read_sources(str(tmp_path / "out/_sources.parquet"))
    names = [source.recording for source in sources]
    assert names == sorted(names)
    assert len(names) == 8
    found = {source.recording: source for source in sources}
    half, status = found["0/half.flac"], (music / "0/half.flac").stat()
    assert half.uri == str(music / "0/half.flac")
    assert (half.bytes, half.modified_s) == (status.st_size, status.st_mtime)
    assert half.seconds == 2
    assert 0.2 < half.audible_share < 0.4
    assert len(half.samples_sha256 or "") == 64
    assert found["words.wav"].rejected is not None
    assert found["words.wav"].rejected.startswith("not_audio: ")
    table = pd.read_parquet(tmp_path / "out")
    assert table["recording"].drop_duplicates().tolist() == names[:-1]
    audible = table[table["recording"] == "0/half.flac"]["audible"]
    assert audible.mean() == pytest.approx(half.audible_share)
    assert table["audible"].dtype == bool


def test_a_rerun_embeds_what_is_new_or_changed(
    model: str, music: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    embed(model, tmp_path / "out", music)
    before = content(tmp_path / "out")
    embed(model, tmp_path / "out", music)
    assert "0 new, 0 changed, 6 kept, 0 gone" in caplog.text
    assert "out is complete already, nothing to do" in caplog.text
    assert content(tmp_path / "out") == before
    change(music)
    embed(model, tmp_path / "out", music)
    assert "1 new, 2 changed, 3 kept, 1 gone" in caplog.text
    assert "rejected: 1 not_audio" in caplog.text
    embed(model, tmp_path / "fresh", music)
    assert content(tmp_path / "out") == content(tmp_path / "fresh") != before
    embed(model, tmp_path / "out", music)
    assert "0 kept" not in caplog.text
    assert "5 kept, 0 gone, 1 rejected before and tried again" in caplog.text


def test_kept_recordings_are_not_read(model: str, music: Path, tmp_path: Path) -> None:
    """A file with other samples, but of the same size and time, shows it."""
    embed(model, tmp_path / "out", music)
    before = content(tmp_path / "out")
    file = music / "0/4.wav"
    status = file.stat()
    write_noise(file, 4.1, 16_000, 99)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    embed(model, tmp_path / "out", music)
    assert content(tmp_path / "out") == before
    embed(model, tmp_path / "out", music, overwrite=True)
    assert content(tmp_path / "out") != before


@pytest.mark.parametrize("first_run", [True, False])
def test_a_run_that_is_stopped_anywhere_resumes(
    model: str, music: Path, tmp_path: Path, first_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at calls in turn; each part holds one recording."""
    monkeypatch.setattr(increments, "_PART_S", 0.0)
    if not first_run:
        embed(model, tmp_path / "start", music)
        change(music)
    embed(model, tmp_path / "fresh", music)
    expected = content(tmp_path / "fresh")
    for stop_at in range(1, 40, 2):
        out = tmp_path / f"out{stop_at}"
        if not first_run:
            shutil.copytree(tmp_path / "start", out)
        try:
            embed(model, out, music, stop_at=stop_at)
        except Terminated:
            assert first_run or (out / "_embeddings_info.json").is_file()
            assert first_run or len(pd.read_parquet(out)) > 0
            embed(model, out, music)
            assert content(out) == expected
        else:
            break
    assert 5 < stop_at < 39


def test_progress_survives(model: str, music: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(increments, "_PART_S", 0.0)
    with pytest.raises(Terminated):
        embed(model, tmp_path / "out", music, stop_at=4)
    embed(model, tmp_path / "out", music)
    assert "3 recordings were embedded by a run that was stopped" in caplog.text
    assert "1 of 3 recordings" in caplog.text


def test_parts_of_another_model_are_not_used(
    model: str, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(increments, "_PART_S", 0.0)
    with pytest.raises(Terminated):
        embed(model, tmp_path / "out", music, stop_at=4)
    encoder = make_encoder(SPEC)
    encoder.set_weights([-weights for weights in encoder.get_weights()])
    export_encoder(encoder, SPEC, str(tmp_path / "other"))
    other = str(tmp_path / "other/export/encoder.keras")
    embed(other, tmp_path / "out", music)
    embed(other, tmp_path / "fresh", music)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")
    with pytest.raises(InputError, match="was made with other arguments: model_sha256: stored "):
        embed(model, tmp_path / "out", music)


def test_a_kill_between_the_table_and_its_sources(
    model: str, music: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As it leaves them: new rows, old sources, and the new sources where the run had them."""
    caplog.set_level("INFO")
    embed(model, tmp_path / "out", music)
    change(music)
    embed(model, tmp_path / "fresh", music)
    out = tmp_path / "out"
    (out / "_incomplete").mkdir()
    info = json.loads((out / "_embeddings_info.json").read_text())
    (out / "_incomplete/run.json").write_text(json.dumps(info))
    shutil.copy(tmp_path / "fresh/recordings.parquet", out / "recordings.parquet")
    shutil.copy(tmp_path / "fresh/_sources.parquet", out / "_incomplete/sources.parquet")
    (out / "_embeddings_info.json").unlink()
    embed(model, out, music)
    assert content(out) == content(tmp_path / "fresh")
    assert "0 new, 0 changed, 5 kept, 0 gone, 1 rejected before" in caplog.text


def test_nothing_in_common_is_refused(model: str, music: Path, tmp_path: Path) -> None:
    """A mistaken --input would delete all vectors."""
    embed(model, tmp_path / "out", music)
    before = content(tmp_path / "out")
    for other in (music / "0", music / "1/1.wav"):
        with pytest.raises(InputError, match=r"vectors of 6 recordings such as '0/0\.wav', n"):
            embed(model, tmp_path / "out", other)
        assert content(tmp_path / "out") == before
    embed(model, tmp_path / "out", music / "0", overwrite=True)
    assert set(pd.read_parquet(tmp_path / "out")["recording"]) == {"0.wav", "2.wav", "4.wav"}


def test_the_output_is_not_among_the_audio_files(model: str, music: Path) -> None:
    listed = sorted(music.rglob("*"))
    for output, given in (
        (music, music),
        (music / "0/out", music),
        (music / "0", music / "0/0.wav"),
    ):
        with pytest.raises(InputError, match="the vectors would lie among the audio files"):
            embed(model, output, given)
    assert sorted(music.rglob("*")) == listed
    (music.parent / "out").mkdir()
    shutil.move(music / "0", music.parent / "out/_incomplete")
    with pytest.raises(InputError, match="_incomplete' is deleted after the run"):
        embed(model, music.parent / "out", music.parent / "out/_incomplete")


def test_many_failures_are_exit_1_and_few_are_not(
    model: str, music: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (music / "words.wav").write_text("these are words")
    embed(model, tmp_path / "out", music)
    assert "rejected: 1 not_audio" in caplog.text
    for name in ("more", "yet more", "still more"):
        (music / f"{name}.wav").write_text("these are words")
    with pytest.raises(JobError) as error:
        embed(model, tmp_path / "out", music)
    assert str(error.value) == (
        f"4 of 10 recordings (40.0%) were rejected, more than --max-failure-rate 0.3; the others "
        f"are in {tmp_path}/out, the reasons in {tmp_path}/out/_sources.parquet; the same command "
        "tries again"
    )
    assert len(set(pd.read_parquet(tmp_path / "out")["recording"])) == 6


def test_each_channel_is_a_context_where_the_features_have_it(tmp_path: Path) -> None:
    spec = FeatureSpec(n_mels=16, tile_s=0.16, channels="all")
    export_encoder(make_encoder(spec), spec, str(tmp_path))
    samples = np.random.default_rng(0).normal(0, 0.1, (16_000, 2))
    soundfile.write(tmp_path / "pair.wav", samples, 16_000)
    embed(str(tmp_path / "export/encoder.keras"), tmp_path / "out", tmp_path / "pair.wav")
    table = pd.read_parquet(tmp_path / "out")
    name = str(tmp_path / "pair.wav")
    assert table["context"].tolist() == [f"{name}#channel0"] * 6 + [f"{name}#channel1"] * 6
    assert set(table["session"]) == set(table["recording"]) == {name}
    np.testing.assert_allclose(table["start_s"], [*(0.16 * np.arange(6))] * 2, atol=1e-9)


def test_a_damaged_table_is_made_anew(model: str, music: Path, tmp_path: Path) -> None:
    embed(model, tmp_path / "out", music)
    before = content(tmp_path / "out")
    table = tmp_path / "out/recordings.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    embed(model, tmp_path / "out", music)
    assert content(tmp_path / "out") == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_with_one_line(
    model: str, tmp_path: Path, number: signal.Signals
) -> None:
    write_noise(tmp_path / "music/1.wav", 0.5, 16_000, 0)
    write_noise(tmp_path / "music/2.wav", 4_000, 16_000, 0)
    words = ("--model", model, "--input", tmp_path / "music", "--output", tmp_path / "out")
    process = start("trainer.embed", *words)
    while not (tmp_path / "out/_incomplete/run.json").exists():
        time.sleep(0.05)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 143
    assert stderr.splitlines()[-1].endswith(
        f"stopped: what is embedded is saved in {tmp_path}/out; the same command resumes"
    )
    assert "Traceback" not in stderr
