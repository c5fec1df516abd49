"""Vectors of features: which partitions are made anew, and the columns of the dataset's table."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from beam_features.schema.sources import Source, read_sources, write_sources
from dem.errors import InputError, Terminated
from tests.trainer.models import make_encoder
from tests.trainer.synthetic import SPEC, write_features
from trainer.embed.parquet import FurtherColumns
from trainer.embed.partitions import embed_features, further_columns
from trainer.model.export import export_encoder

PARTITIONS = {"test": 3, "train": 6}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("model")
    export_encoder(make_encoder(SPEC), SPEC, str(directory))
    return str(directory / "export/encoder.keras")


def embed(model: str, data: Path, output: Path, *partitions: str, stop_at: int = 10**6) -> None:
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls >= stop_at:
            raise Terminated("now")

    embed_features(
        model,
        str(data),
        partitions or None,
        str(output),
        overwrite=False,
        stop_if_terminated=stop,
    )


def source(recording: str, **columns: str) -> Source:
    return Source(recording, f"/music/{recording}.wav", 1, 1.0, "1:1", columns=(*columns.items(),))


def made(output: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in output.glob("*.parquet")}


def test_a_partition_is_made_anew_where_the_features_have_changed(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data, out = tmp_path / "features", tmp_path / "out"
    write_features(data, PARTITIONS)
    embed(model, data, out)
    before = made(out)
    embed(model, data, out)
    assert "out is complete already, nothing to do" in caplog.text
    for shard in data.glob("train-*"):
        shard.touch()
    embed(model, data, out)
    after = made(out)
    assert "test.parquet: 18 tiles, kept" in caplog.text
    assert after["test.parquet"] == before["test.parquet"]
    assert after["train.parquet"] > before["train.parquet"]


def test_finished_partitions_survive_a_stop(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    data, out = tmp_path / "features", tmp_path / "out"
    write_features(data, PARTITIONS)
    with pytest.raises(Terminated):
        embed(model, data, out, stop_at=3)  # the first partition has a batch for each of two shards
    assert set(made(out)) == {"test.parquet"}
    before = made(out)["test.parquet"]
    embed(model, data, out)
    assert made(out)["test.parquet"] == before
    assert {path.name for path in out.iterdir()} == {
        *("_embeddings_info.json", "test.parquet", "train.parquet")
    }


def test_partitions_are_added_and_removed_with_the_features(model: str, tmp_path: Path) -> None:
    data, out = tmp_path / "features", tmp_path / "out"
    write_features(data, PARTITIONS)
    embed(model, data, out, "test")
    embed(model, data, out)
    assert set(made(out)) == {"test.parquet", "train.parquet"}
    shutil.rmtree(data)
    write_features(data, {"train": 6})
    embed(model, data, out)
    assert set(made(out)) == {"train.parquet"}
    with pytest.raises(InputError, match=r"partitions: stored None, requested \['train'\]"):
        embed(model, data, out, "train")


def test_columns_of_the_table_follow_the_fixed_ones(model: str, tmp_path: Path) -> None:
    data, out = tmp_path / "features", tmp_path / "out"
    write_features(data, PARTITIONS)
    sources = [source("test/0", artist="Anna", title="One"), source("test/1", title="Two")]
    write_sources(str(data / "sources.parquet"), [*sources, source("train/0", album="Later")])
    embed(model, data, out)
    table = pd.read_parquet(out)
    assert list(table.columns[-4:]) == ["vector", "artist", "title", "album"]
    cells = table.set_index("recording")[["artist", "title", "album"]].fillna("")
    cells = cells[~cells.index.duplicated()]
    assert cells.loc["test/0"].tolist() == ["Anna", "One", ""]
    assert cells.loc["test/1"].tolist() == ["", "Two", ""]
    assert cells.loc["test/2"].tolist() == ["", "", ""]
    assert cells.loc["train/0"].tolist() == ["", "", "Later"]
    assert read_sources(str(out / "_sources.parquet"))[:2] == sources
    write_sources(str(data / "sources.parquet"), [source("test/0", artist="Bea")])
    embed(model, data, out)
    table = pd.read_parquet(out)
    assert set(table[table["recording"] == "test/0"]["artist"]) == {"Bea"}


def test_sources_of_chosen_partitions(model: str, tmp_path: Path) -> None:
    data, out = tmp_path / "features", tmp_path / "out"
    write_features(data, PARTITIONS)
    write_sources(str(data / "sources.parquet"), [source("test/0"), source("train/0")])
    embed(model, data, out, "test")
    assert read_sources(str(out / "_sources.parquet")) == [source("test/0")]


def test_a_column_that_is_named_like_ours_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    found = further_columns([source("a", vector="x", artist="Anna")])
    assert found == FurtherColumns(("artist",), {"a": {"vector": "x", "artist": "Anna"}})
    assert "the column 'vector' of the dataset is left out" in caplog.text
