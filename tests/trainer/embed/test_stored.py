"""Vectors that a job keeps: made once, from this encoder and these data, and complete."""

import dataclasses
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from dem.errors import InputError, JobError
from tests.trainer.synthetic import SPEC, relabel, write_features
from tests.trainer.vectors import tile_table
from trainer.data.features import Features, open_features
from trainer.data.shards import CorruptRecords
from trainer.data.vector_table import VectorTable
from trainer.embed.stored import Encoder, built_encoder, stored_vectors
from trainer.model.vectors import as_representation, log_mel_statistics

MODEL = log_mel_statistics(SPEC.tile_shape)
ENCODER = built_encoder("none", MODEL, {})
NEGATED = dataclasses.replace(ENCODER, model=keras.Model(MODEL.input, -MODEL.output))
"""Another model under the same digest: it shows whether tiles are embedded again."""


def vectors(
    features: Features,
    home: Path,
    encoder: Encoder = ENCODER,
    partitions: tuple[str, ...] = ("test",),
    corrupt: CorruptRecords | None = None,
    most_tiles: int | None = None,
) -> VectorTable:
    records = corrupt or CorruptRecords(0)
    return stored_vectors(encoder, features, partitions, str(home), records, most_tiles=most_tiles)


def expected_vectors(features: Features, *partitions: str) -> VectorTable:
    return tile_table(features, partitions or ["test"], as_representation(MODEL))


def assert_equal(one: VectorTable, other: VectorTable) -> None:
    for field in dataclasses.fields(VectorTable):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        np.testing.assert_array_equal(mine, theirs, field.name)
        assert mine.dtype.kind == theirs.dtype.kind


def files(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())


def test_tiles_are_embedded_once(features: Features, tmp_path: Path) -> None:
    assert_equal(vectors(features, tmp_path), expected_vectors(features))
    assert files(tmp_path) == ["vectors/none/test.parquet"]
    assert_equal(vectors(features, tmp_path, NEGATED), expected_vectors(features))


def test_partitions_are_in_the_order_of_the_call(features: Features, tmp_path: Path) -> None:
    both = vectors(features, tmp_path, partitions=("test", "train"))
    parts = [expected_vectors(features, name) for name in ("test", "train")]
    assert_equal(both, VectorTable.concatenate(parts))


def test_vectors_of_another_encoder_of_the_job_are_refused(
    features: Features, tmp_path: Path
) -> None:
    fixed = dataclasses.replace(ENCODER, is_fixed=True)
    vectors(features, tmp_path, fixed)
    again = dataclasses.replace(fixed, sha256="0123456789abcdef")
    with pytest.raises(InputError) as error:
        vectors(features, tmp_path, again)
    assert f"of sha256 {fixed.sha256[:12]}, but that of the job has 0123456789ab" in str(
        error.value
    )
    assert f"delete {tmp_path}/vectors/none to embed again" in str(error.value)


def test_other_settings_of_an_encoder_that_is_built_make_other_vectors(
    features: Features, tmp_path: Path
) -> None:
    vectors(features, tmp_path)
    other = dataclasses.replace(NEGATED, sha256="0123456789abcdef")
    again = vectors(features, tmp_path, other)
    np.testing.assert_array_equal(again.vectors, -expected_vectors(features).vectors)


def test_the_digest_is_of_weights_and_settings() -> None:
    def digest(value: float, seed: int) -> str:
        layer = keras.layers.Dense(1, kernel_initializer=keras.initializers.Constant(value))
        return built_encoder(
            "random", keras.Sequential([keras.Input((2,)), layer]), {"seed": seed}
        ).sha256

    assert digest(0.5, 0) == digest(0.5, 0)
    assert len({digest(0.5, 0), digest(0.6, 0), digest(0.5, 1)}) == 3


def test_other_labels_make_the_vectors_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The counts and moments of the partition are the same."""
    data = write_features(tmp_path / "features", {"test": 12})
    vectors(open_features(str(data)), tmp_path)
    for shard in data.glob("*.tfrecord"):
        relabel(shard, 1)
    caplog.set_level("INFO")
    assert set(vectors(open_features(str(data)), tmp_path).labels) == {1}
    assert "was made from another data: embedding again" in caplog.text


def test_the_first_tiles_of_each_partition_are_enough(tmp_path: Path) -> None:
    """The same share of 360 and 54 tiles; what was not embedded completely is not kept."""
    data = write_features(tmp_path / "features", {"train": 60, "test": 9})
    features = open_features(str(data))
    parts = [
        expected_vectors(features, name).select(np.arange(tiles))
        for name, tiles in (("train", 360 * 200 // 414), ("test", 54 * 200 // 414))
    ]
    both = VectorTable.concatenate(parts)
    for _ in range(2):
        first = vectors(features, tmp_path, partitions=("train", "test"), most_tiles=200)
        assert_equal(first, both)
        assert "vectors/none/train.parquet" not in files(tmp_path)
    vectors(features, tmp_path, partitions=("train", "test"))
    first = vectors(features, tmp_path, NEGATED, ("train", "test"), most_tiles=200)
    assert_equal(first, both)


def test_corrupt_records_are_counted_also_when_vectors_are_read_again(tmp_path: Path) -> None:
    data = write_features(tmp_path / "features", {"test": 12})
    shard = data / "test-00000-of-00002.tfrecord"
    damaged = bytearray(shard.read_bytes())
    damaged[700] ^= 1
    shard.write_bytes(damaged)
    features = open_features(str(data))
    for _ in range(2):
        corrupt = CorruptRecords(1)
        assert len(vectors(features, tmp_path, corrupt=corrupt).labels) == 11 * 6
        assert corrupt.count == 1
    with pytest.raises(JobError, match=r"1 corrupt records are more than the 0 that a job tole"):
        vectors(features, tmp_path, corrupt=CorruptRecords(0, "a job"))


def test_a_partition_without_tiles_has_no_rows(tmp_path: Path) -> None:
    features = open_features(str(write_features(tmp_path / "features", {"test": 3, "empty": 0})))
    for _ in range(2):
        assert vectors(features, tmp_path, partitions=("empty",)).vectors.shape == (0, 32)


def test_runs_at_the_same_time_do_no_harm(features: Features, tmp_path: Path) -> None:
    """Whoever is last leaves its file; each has all rows, and nothing else remains."""
    found: list[VectorTable] = []
    runs = [
        threading.Thread(target=lambda: found.append(vectors(features, tmp_path))) for _ in range(4)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(found) == 4
    for table in (*found, vectors(features, tmp_path, NEGATED)):
        assert_equal(table, expected_vectors(features))
    assert files(tmp_path) == ["vectors/none/test.parquet"]
