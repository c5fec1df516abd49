"""The embedding command as a user runs it, and what it writes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from beam_features.__main__ import main as beam_features
from beam_features.schema.feature_spec import FeatureSpec
from tests.beam_features.conftest import SONGS, write_noise
from tests.trainer.synthetic import LABELS, SPEC, write_features
from tests.trainer.vectors import tile_table
from trainer.config import Architecture, TrainConfig
from trainer.data.features import Features, open_features
from trainer.embed.__main__ import main
from trainer.model.encoders import build_encoder
from trainer.model.export import export_encoder
from trainer.model.load import open_model
from trainer.runtime.job_dir import claim_job_dir
from trainer.train.resolve import resolve_config

COLUMNS = [
    "recording",
    "context",
    "session",
    "start_s",
    "partition",
    "label",
    "audible",
    "vector",
]


def make_job(directory: Path, features: Features) -> Path:
    spec = features.info.feature_spec
    moments = features.info.moments(["train"])
    export_encoder(
        build_encoder(Architecture("conv2d"), spec.tile_shape, 8, moments, 0), spec, str(directory)
    )
    config = TrainConfig(embedding_size=8, corrupt_records_budget=2)
    claim_job_dir(str(directory), resolve_config(config, features))
    return directory


@pytest.fixture(scope="module")
def job(features: Features, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_job(tmp_path_factory.mktemp("embed") / "job", features)


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("audio")
    for seed, (name, (seconds, rate_hz)) in enumerate(SONGS.items()):
        write_noise(root / name, seconds, rate_hz, seed)
    return root


def embed(model: Path, output: Path, *arguments: object) -> int:
    words = ("--model", model, "--output", output, *arguments)
    return main([str(word) for word in words])


def vectors(table: pd.DataFrame) -> np.ndarray:
    return np.stack(table["vector"].to_list())


def test_every_tile_of_the_features_is_a_row(features: Features, job: Path, tmp_path: Path) -> None:
    assert embed(job, tmp_path, "--data", features.uri) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "_embeddings_info.json",
        *(f"{name}.parquet" for name in ("test", "train", "validation")),
    }
    table = pd.read_parquet(tmp_path)
    assert list(table.columns) == COLUMNS
    assert table["partition"].value_counts().to_dict() == {
        "train": 144,
        "test": 72,
        "validation": 54,
    }
    song = table[table["recording"] == "test/7"]
    np.testing.assert_allclose(song["start_s"], 0.16 * np.arange(6), atol=1e-9)
    assert set(song["label"]) == {LABELS[7 % 3]}
    expected = tile_table(features, ["test"], open_model(str(job)).embed_tiles)
    test = table[table["partition"] == "test"]
    assert test["recording"].tolist() == expected.recording_ids.tolist()
    np.testing.assert_allclose(vectors(test), expected.vectors, atol=1e-5)
    assert vectors(test).dtype == np.float32
    assert test["session"].tolist() == expected.session_ids.tolist()
    assert test["audible"].all()


def test_files_and_their_features_give_the_same_vectors(songs: Path, tmp_path: Path) -> None:
    words = ("--dataset", "folder", "--input", songs, "--output", tmp_path / "features")
    assert beam_features([str(word) for word in words]) == 0
    features = open_features(str(tmp_path / "features"))
    (tmp_path / "job").mkdir()
    names = list(features.info.partitions)
    moments = features.info.moments(names)
    spec = features.info.feature_spec
    encoder = build_encoder(Architecture("conv2d"), spec.tile_shape, 8, moments, 0)
    export_encoder(encoder, spec, str(tmp_path / "job"))
    model = tmp_path / "job/export/encoder.keras"
    assert embed(model, tmp_path / "a", "--data", features.uri) == 0
    assert embed(model, tmp_path / "b", "--input", songs) == 0
    by_tile = ["recording", "start_s"]
    one, other = (
        pd.read_parquet(tmp_path / name).sort_values(by_tile, ignore_index=True) for name in "ab"
    )
    pd.testing.assert_frame_equal(one[by_tile], other[by_tile])
    assert len(one) == 2 + 1 + 1 + 70 + 3 + 3 + 2 + 2
    np.testing.assert_allclose(vectors(one), vectors(other), atol=2e-5)
    assert other["partition"].isna().all()
    assert other["label"].isna().all()
    assert other["audible"].tolist() == one["audible"].tolist()
    assert other["context"].tolist() == other["session"].tolist() == other["recording"].tolist()


def test_named_partitions_only(features: Features, job: Path, tmp_path: Path) -> None:
    assert embed(job, tmp_path, "--data", features.uri, "--partitions", "test") == 0
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["test.parquet"]
    schema = pq.read_schema(tmp_path / "test.parquet")
    assert str(schema.field("vector").type) == "fixed_size_list<element: float>[8]"


def test_what_cannot_be_decoded_is_told_and_the_others_are_there(
    job: Path, songs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (songs / "rain/7.wav").read_bytes()
    cut, words, good = tmp_path / "cut.wav", tmp_path / "words.wav", songs / "dog/1.wav"
    cut.write_bytes(whole[: len(whole) // 2])
    words.write_text("these are words")
    assert embed(job, tmp_path / "out", "--input", cut, words, good) == 1
    stderr = capsys.readouterr().err
    assert f"rejected: {cut}: truncated: " in stderr
    assert f"rejected: {words}: not_audio: " in stderr
    assert "rejected: 1 not_audio, 1 truncated" in stderr
    assert "error: 2 of 3 recordings (66.7%) were rejected, more than --max-failure-rate" in stderr
    table = pd.read_parquet(tmp_path / "out")
    assert set(table["recording"]) == {str(good)}
    info = json.loads((tmp_path / "out/_embeddings_info.json").read_text())
    assert info["files"] == {"recordings.parquet": len(table)}
    assert set(info["rejected"]) == {str(cut), str(words)}
    for path in (cut, words):
        path.write_bytes(whole)
    assert embed(job, tmp_path / "out", "--input", cut, words, good) == 0
    assert len(set(pd.read_parquet(tmp_path / "out")["recording"])) == 3


def test_a_complete_output_is_not_made_again_and_never_mixed(
    features: Features, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("--data", features.uri, "--partitions", "test")
    assert embed(job, tmp_path, *command) == 0
    before = (tmp_path / "test.parquet").stat().st_mtime_ns
    assert embed(job, tmp_path, *command) == 0
    assert (tmp_path / "test.parquet").stat().st_mtime_ns == before
    assert "is complete already, nothing to do" in capsys.readouterr().err
    assert embed(job, tmp_path, "--data", features.uri, "--partitions", "train") == 2
    assert "partitions: stored ['test'], requested ['train']" in capsys.readouterr().err
    command = ("--data", features.uri, "--partitions", "train", "--overwrite")
    assert embed(job, tmp_path, *command) == 0
    assert [path.name for path in tmp_path.glob("*.parquet")] == ["train.parquet"]


def test_a_killed_run_leaves_nothing_to_be_mixed(
    features: Features, job: Path, tmp_path: Path
) -> None:
    """As a kill leaves it: a file of the old run, and what it was about to write."""
    (tmp_path / "_incomplete").mkdir()
    run = {"files": ["train.parquet", "test.parquet"], "arguments": {"source": {"data": "other"}}}
    (tmp_path / "_incomplete/run.json").write_text(json.dumps(run))
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes(b"of another model")
    assert embed(job, tmp_path, "--data", features.uri, "--partitions", "test") == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"test.parquet", "_embeddings_info.json"}


def test_corrupt_records_are_skipped_as_in_training(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job tolerates 2; a model without a job is measured by the training's default, 10."""
    data = write_features(tmp_path / "features", {"train": 24})
    shard = data / "train-00000-of-00002.tfrecord"
    whole = shard.read_bytes()
    record = len(whole) // 12  # of 6 tiles; all are nearly equally long
    damaged = corrupt(whole, *(record * k + 900 for k in (0, 3)))
    shard.write_bytes(damaged)
    assert embed(job, tmp_path / "two", "--data", data) == 0
    assert len(pd.read_parquet(tmp_path / "two")) == (24 - 2) * 6
    assert "2 corrupt records were skipped; up to 2 are tolerated\n" in capsys.readouterr().err
    shard.write_bytes(corrupt(damaged, record * 6 + 900))
    assert embed(job, tmp_path / "three", "--data", data) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"3 corrupt records are more than the 2 that the training of {job} tolerates: " in line
    assert "corrupt_records_budget" not in line
    assert embed(job / "export/saved_model", tmp_path / "model", "--data", data) == 0
    assert len(pd.read_parquet(tmp_path / "model")) == (24 - 3) * 6


def corrupt(data: bytes, *places: int) -> bytes:
    """Flip a bit of the bytes at some places."""
    values = bytearray(data)
    for place in places:
        values[place] ^= 1
    return bytes(values)


def test_files_of_others_are_not_touched(
    features: Features, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.parquet").write_text("precious")
    assert embed(job, tmp_path, "--data", features.uri, "--overwrite") == 2
    assert "holds 'mine.parquet', which this command did not write" in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_features_of_another_fingerprint_are_refused(
    job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = FeatureSpec(n_mels=16, tile_s=0.16, log_offset=1e-5)
    write_features(tmp_path / "features", {"train": 3}, spec=other)
    assert embed(job, tmp_path / "out", "--data", tmp_path / "features") == 2
    line = capsys.readouterr().err
    assert SPEC.fingerprint[:12] in line
    assert other.fingerprint[:12] in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--input", "no/such.wav"), "'no/such.wav' does not exist; check --input"),
        (("--input", "trainer"), "no audio files below 'trainer'; left out "),
        (("--input", "x", "--partitions", "test"), "--partitions are those of --data"),
        (
            ("--input", "x", "--max-failure-rate", "2"),
            "--max-failure-rate is a share, 0 to 1, not 2",
        ),
        (("--input", "s3://bucket/Music"), "unsupported storage 's3://bucket/Music'; give a path"),
        (("--data", "no/features"), "holds no finished features"),
    ],
)
def test_bad_input_is_exit_2(
    job: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert embed(job, tmp_path / "out", *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_rivals_of_the_encoder_have_a_digest_of_their_own(
    features: Features, job: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The encoder of this job was never trained: its random rival is the same with its seed, 0."""
    digests = set()
    for kind in ("trained", "random", "none", "modulation"):
        words = ("--data", features.uri, "--partitions", "test", "--encoder", kind)
        assert embed(job, tmp_path / kind, *words) == 0
        info = json.loads((tmp_path / kind / "_embeddings_info.json").read_text())
        digests.add(info["arguments"]["model_sha256"])
    assert len(digests) == 4
    trained, random, none, modulation = (
        vectors(pd.read_parquet(tmp_path / kind / "test.parquet"))
        for kind in ("trained", "random", "none", "modulation")
    )
    np.testing.assert_allclose(random, trained, atol=1e-4)
    assert none.shape == (len(trained), 2 * SPEC.n_mels)
    np.testing.assert_array_equal(modulation[:, : 2 * SPEC.n_mels], none)
    assert modulation.shape[1] > none.shape[1]
    (tile, *_) = tile_table(features, ["test"], lambda tiles: tiles.mean(axis=1)).vectors
    np.testing.assert_allclose(none[0, : SPEC.n_mels], tile, atol=5e-3)
    assert embed(job, tmp_path / "random", "--data", features.uri, "--encoder", "none") == 2
    keras_file = job / "export/encoder.keras"
    words = ("--data", features.uri, "--encoder", "random")
    assert embed(keras_file, tmp_path / "new", *words) == 2
    assert "is not the job directory of a finished training" in capsys.readouterr().err
