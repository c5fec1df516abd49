"""The table of source files: what is written is read, cell by cell."""

import pyarrow.parquet as pq
import pytest

from beam_features.schema.sources import Source, read_sources, write_sources

SOURCES = [
    Source("a", "/a.wav", 44, 1.5, "44:1500000000", 3.0, 0.5, "ab12", None, (("artist", "Ada"),)),
    Source("b", "/b.wav", 7, 2.5, "7:2500000000", rejected="not_audio", columns=(("title", "B"),)),
    Source(
        "c", "/c.wav", 7, 2.5, "7:25", 1.0, partition="train", label="x", shard="train.tfrecord"
    ),
]


def test_rows_round_trip(tmp_path):
    uri = str(tmp_path / "sources.parquet")
    write_sources(uri, SOURCES)
    assert read_sources(uri) == SOURCES


def test_further_columns_are_columns_of_text(tmp_path):
    uri = str(tmp_path / "sources.parquet")
    write_sources(uri, SOURCES)
    table = pq.read_table(uri)
    assert table["artist"].to_pylist() == ["Ada", None, None]
    assert table["title"].to_pylist() == [None, "B", None]


def test_further_column_with_a_name_of_ours_does_not_replace_it(tmp_path):
    uri = str(tmp_path / "sources.parquet")
    source = Source("a", "/a.wav", 44, 1.5, "1", columns=(("bytes", "many"), ("title", "A")))
    write_sources(uri, [source])
    table = pq.read_table(uri)
    assert (table["bytes"].to_pylist(), table["table_bytes"].to_pylist()) == ([44], ["many"])
    assert read_sources(uri) == [source]


def test_a_table_without_rows(tmp_path):
    uri = str(tmp_path / "sources.parquet")
    write_sources(uri, [])
    assert read_sources(uri) == []


def test_a_missing_table_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_sources(str(tmp_path / "sources.parquet"))
