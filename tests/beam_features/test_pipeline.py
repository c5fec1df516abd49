"""The Beam graph: one output per shard, and counters."""

from pathlib import Path

from apache_beam import Pipeline

from beam_features.cli import beam_options
from beam_features.datasets import DATASETS
from beam_features.pipeline import WriteShard, build_pipeline, summary_uri
from beam_features.plan import Shard, plan_shards
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.shard_writer import ShardSettings


def test_summary_uri():
    shard = Shard("train", 1, 4, ())
    assert summary_uri("gs://b/x", shard) == "gs://b/x/train-00001-of-00004.json"


def test_graph_writes_every_shard_and_counts(damaged_songs, tmp_path):
    """Good songs have 2+1+1+70+3+3+2+2 = 84 tiles."""
    shards = plan_shards(DATASETS["folder"](str(damaged_songs)).recordings, 2)
    summaries = str(tmp_path / "summaries")
    settings = ShardSettings(FeatureSpec(), {"dog": 0, "rain": 1, "heavy": 2})
    write = WriteShard(str(tmp_path), summaries, settings)
    pipeline = Pipeline(options=beam_options([]))
    build_pipeline(pipeline, shards, write)
    result = pipeline.run()
    result.wait_until_finish()

    assert {path.name for path in tmp_path.glob("*.tfrecord")} == {shard.name for shard in shards}
    assert all(Path(summary_uri(summaries, shard)).exists() for shard in shards)
    bad = ("cut.wav", "words.wav", "empty.wav")
    used = [path for path in damaged_songs.rglob("*.*") if path.name not in bad]
    counters = result.metrics().query()["counters"]
    assert {counter.key.metric.name: counter.committed for counter in counters} == {
        "recordings": 8,
        "silent": 0,
        "tiles": 84,
        "seconds": 83,  # 83.9, rounded shard by shard
        "bytes_read": sum(path.stat().st_size for path in used),
        "bytes_written": sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord")),
        "rejected_truncated": 1,
        "rejected_not_audio": 1,
    }
