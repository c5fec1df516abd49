"""Shards made from records of earlier shards."""

import numpy as np
import pytest
import soundfile

from beam_features.job.attempt import PlannedShard
from beam_features.job.plan import Shard
from beam_features.job.rewrite import CorruptShardError, copy_strips
from beam_features.job.shard_writer import ShardSummary, write_shard
from beam_features.recording import Recording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.tiles.read import ReadSettings

SPEC = FeatureSpec(channels="all")
NAMES = ("a.wav", "b.wav", "words.wav", "c.wav")


@pytest.fixture
def contexts(tmp_path) -> dict[str, tuple[Recording, ...]]:
    """Stereo songs of 66 s, which are two strips per channel, and one that is no song."""
    for seed, name in enumerate(NAMES):
        samples = np.random.default_rng(seed).normal(0, 0.05, (66 * 8000, 2))
        soundfile.write(tmp_path / name, samples, 8000)
    (tmp_path / "words.wav").write_text("these are words")
    return {
        name: (Recording(name, str(tmp_path / name), None, "train", name, name),) for name in NAMES
    }


def write(contexts, tmp_path, *names: str, index: int = 0) -> ShardSummary:
    shard = Shard("train", index, 2, tuple(contexts[name] for name in names))
    return write_shard(shard, str(tmp_path / "out"), {}, ReadSettings(SPEC))


def planned(contexts, origins: int, outcomes, *names: str) -> PlannedShard:
    shard = Shard("train", 0, 1, tuple(contexts[name] for name in names), update=1)
    chosen = tuple(o for o in outcomes if o.recording_id in names)
    first = [f"train-{index:05d}-of-00002.tfrecord" for index in range(origins)]
    return PlannedShard(shard, {}, {}, tuple(first), chosen)


def copy(plan: PlannedShard, tmp_path) -> ShardSummary:
    return copy_strips(plan, str(tmp_path / "out"), str(tmp_path / "new"), SPEC)


def test_a_copy_is_what_decoding_gives(contexts, tmp_path):
    """Without b; of two shards."""
    outcomes = write(contexts, tmp_path, "a.wav", "b.wav", "words.wav").outcomes
    outcomes += write(contexts, tmp_path, "c.wav", index=1).outcomes
    plan = planned(contexts, 2, outcomes, "a.wav", "words.wav", "c.wav")
    copied = copy(plan, tmp_path)
    decoded = write_shard(plan.shard, str(tmp_path / "decoded"), {}, ReadSettings(SPEC))
    assert copied == decoded
    assert (copied.recordings, copied.strips, copied.tiles) == (2, 8, 4 * 66)
    name = plan.shard.name
    assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "decoded" / name).read_bytes()


def flip(data: bytes) -> bytes:
    return data[:5000] + bytes([data[5000] ^ 1]) + data[5001:]


@pytest.mark.parametrize(
    "damage",
    [flip, lambda data: data[:-1], lambda data: data[:10], lambda data: b"", lambda data: None],
)
def test_a_damaged_shard_is_not_copied(contexts, tmp_path, damage):
    outcomes = write(contexts, tmp_path, "a.wav", "b.wav").outcomes
    path = tmp_path / "out" / "train-00000-of-00002.tfrecord"
    damaged = damage(path.read_bytes())
    path.unlink()
    if damaged is not None:
        path.write_bytes(damaged)
    with pytest.raises(CorruptShardError):
        copy(planned(contexts, 1, outcomes, "a.wav"), tmp_path)
    assert list((tmp_path / "new").iterdir()) == []
