"""The Beam graph: one output per shard, counters, and its size."""

from pathlib import Path

import pytest
from apache_beam import Pipeline

from beam_features.datasets import DATASETS
from beam_features.job.attempt import Attempt, PlannedShard
from beam_features.job.maker import ShardMaker
from beam_features.job.options import beam_options
from beam_features.job.pipeline import WriteShard, build_pipeline
from beam_features.job.plan import Shard
from beam_features.job.update import Listed, plan_update
from beam_features.recording import Recording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import ReadSettings
from dem.access import FileVersion


def test_graph_writes_every_shard_and_counts(damaged_songs, tmp_path):
    """Good songs have 2+1+1+70+3+3+2+2 = 84 tiles."""
    recordings = DATASETS["folder"](str(damaged_songs)).recordings
    labels = {r.label: index for index, r in enumerate(recordings) if r.label is not None}
    planned = plan_update(Listed(recordings, {}, labels), (), 0, 2).made
    shards = [one.shard for one in planned]
    summaries = str(tmp_path / "summaries")
    attempt = Attempt.begin(summaries)
    places = attempt.write_plan(planned)
    settings = ReadSettings(FeatureSpec())
    pipeline = Pipeline(options=beam_options([]))
    build_pipeline(pipeline, places, WriteShard(ShardMaker(attempt, str(tmp_path), settings)))
    result = pipeline.run()
    result.wait_until_finish()

    assert {path.name for path in tmp_path.glob("*.tfrecord")} == {shard.name for shard in shards}
    assert all(Path(summaries, shard.summary_name).exists() for shard in shards)
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


def test_graph_does_not_grow_with_the_recordings(tmp_path):
    """2,000 recordings with long names and a label each; Dataflow takes graphs of some 10 MB."""
    names = [f"{'artist' * 10}/{k:05d}.flac" for k in range(2_000)]
    recordings = [Recording(name, name, name, "train", name, name) for name in names]

    def graph_bytes(n_shards: int) -> int:
        labels = {name: index for index, name in enumerate(names)}
        planned = plan_update(Listed(recordings, {}, labels), (), 0, n_shards).made
        attempt = Attempt.begin(str(tmp_path))
        places = attempt.write_plan(planned)
        assert len(places) == n_shards
        pipeline = Pipeline(options=beam_options([]))
        write = WriteShard(ShardMaker(attempt, str(tmp_path), ReadSettings(FeatureSpec())))
        build_pipeline(pipeline, places, write)
        return pipeline.to_runner_api().ByteSize()

    one, many = graph_bytes(1), graph_bytes(1001)
    assert one < 100_000
    assert (many - one) / 1000 < 100


@pytest.mark.parametrize("name", ["what [1]?.wav", "ünï\ncode.wav", "\udcff.wav"])
def test_plan_keeps_names(tmp_path, name):
    """Also names that are no valid UTF-8, which Python holds as surrogates."""
    recording = Recording(name, f"/in/{name}", "", "train", name, name, "node1", 0.1)
    shard = Shard("train", 0, 2, ((recording, recording), (recording,)))
    first = PlannedShard(shard, {"": 3}, {recording.uri: FileVersion(1, 0.5, "1:5")})
    second = PlannedShard(Shard("train", 1, 2, ()), {}, {}, ("train-00000-of-00001.tfrecord",))
    attempt = Attempt.begin(str(tmp_path))
    places = attempt.write_plan([first, second])
    assert [attempt.read_plan(place) for place in reversed(places)] == [second, first]
