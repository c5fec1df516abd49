"""The plan of shards: stable, complete, disjoint, balanced."""

import random
from dataclasses import replace

import pytest

from beam_features.job.plan import Shard, check_contexts, check_unique, plan_shards, shard_pattern
from beam_features.recording import Recording
from dem.errors import InputError


def recording(context: str, partition: str = "train", part: int = 0) -> Recording:
    name = f"{context}/{part}"
    return Recording(name, name, None, partition, context, context, "", 10.0 * part)


@pytest.fixture
def recordings() -> list[Recording]:
    """37 contexts of train and 2 of test, three recordings each."""
    contexts = [(f"song{k}", "train") for k in range(37)] + [(f"song{k}", "test") for k in (50, 54)]
    return [recording(name, partition, part) for name, partition in contexts for part in range(3)]


def names(shards: list[Shard]) -> list[str]:
    return [shard.name for shard in shards]


def test_names(recordings):
    assert names(plan_shards(recordings, 4)) == [
        "test-00000-of-00002.tfrecord",  # no more shards than contexts
        "test-00001-of-00002.tfrecord",
        "train-00000-of-00004.tfrecord",
        "train-00001-of-00004.tfrecord",
        "train-00002-of-00004.tfrecord",
        "train-00003-of-00004.tfrecord",
    ]
    assert shard_pattern("train", 4) == "train-*-of-00004.tfrecord"
    assert Shard("train", 1, 4, ()).summary_name == "train-00001-of-00004.json"


def test_plan_does_not_depend_on_the_order_of_the_input(recordings):
    plan = plan_shards(recordings, 4)
    for seed in range(3):
        shuffled = random.Random(seed).sample(recordings, len(recordings))
        assert plan_shards(shuffled, 4) == plan


def test_every_recording_is_planned_once(recordings):
    planned = [r for shard in plan_shards(recordings, 4) for c in shard.contexts for r in c]
    assert sorted(planned, key=str) == sorted(recordings, key=str)


def test_context_is_never_split_and_in_time_order(recordings):
    contexts = [context for shard in plan_shards(recordings, 4) for context in shard.contexts]
    assert len({context[0].context_id for context in contexts}) == len(contexts) == 39
    for context in contexts:
        assert len({r.context_id for r in context}) == 1
        assert [r.offset_s for r in context] == [0.0, 10.0, 20.0]


def test_shard_holds_one_partition(recordings):
    for shard in plan_shards(recordings, 4):
        assert {r.partition for context in shard.contexts for r in context} == {shard.partition}


@pytest.mark.parametrize("n_shards", [1, 4, 10, 37, 100])
def test_shards_are_balanced(recordings, n_shards):
    sizes = [len(s.contexts) for s in plan_shards(recordings, n_shards) if s.partition == "train"]
    assert len(sizes) == min(n_shards, 37)
    assert sum(sizes) == 37
    assert max(sizes) - min(sizes) <= 1


def test_shards_are_mixtures_of_a_periodic_listing():
    """Every tenth context is of one class, and there are ten shards: none may be of one class."""
    shards = plan_shards([recording(f"{k:03d}") for k in range(200)], 10)
    classes = [{int(context[0].context_id) % 10 for context in shard.contexts} for shard in shards]
    assert min(map(len, classes)) >= 5


def test_two_recordings_of_one_id_are_refused():
    with pytest.raises(InputError) as refusal:
        check_unique([recording("a"), recording("b"), recording("a")])
    assert str(refusal.value) == "two recordings have the id 'a/0'; remove one of them"


def test_distinct_ids_are_accepted(recordings):
    check_unique(recordings)


def test_contexts_of_one_partition_session_and_sensor_are_accepted(recordings):
    check_contexts(recordings)


@pytest.mark.parametrize(
    ("name", "field", "there"),
    [
        ("partition", "partition", "train"),
        ("session", "session_id", "song3"),
        ("sensor", "sensor_id", ""),
    ],
)
def test_context_of_two_partitions_sessions_or_sensors_is_refused(recordings, name, field, there):
    """A strip says each of them once, for all of its tiles."""
    recordings[11] = replace(recordings[11], **{field: "other"})
    with pytest.raises(InputError) as refusal:
        check_contexts(recordings)
    assert str(refusal.value) == (
        f"context 'song3' has recordings of two {name}s, {there!r} ('song3/0') and 'other' "
        f"('song3/2'); a context is in one {name}"
    )


def test_default_number_of_shards_grows_with_the_recordings():
    few, many = ([recording(f"{k:04d}") for k in range(n)] for n in (100, 1001))
    assert len(plan_shards(few)) == 4
    assert len(plan_shards(many)) == 11  # 1001 / 100, rounded up


def node(session: str, sensor: str, parts: int = 3) -> list[Recording]:
    context = f"{sensor}_{session}"
    return [
        Recording(f"{context}/{k}", "", None, "train", context, session, sensor, 10.0 * k)
        for k in range(parts)
    ]


def test_nodes_of_a_session_lie_side_by_side_in_one_shard():
    recordings = [r for s in range(12) for n in "abcd" for r in node(f"ex{s}", n)]
    shards = plan_shards(recordings, 5)
    runs = [[c[0].session_id for c in shard.contexts] for shard in shards]
    sessions = [run[::4] for run in runs]
    assert [session for run in runs for session in run] == [
        session for run in sessions for session in run for _ in range(4)
    ]
    assert sorted(map(len, sessions)) == [2, 2, 2, 3, 3]


def test_contexts_of_a_session_with_one_sensor_are_spread():
    """All tracks of one artist need not be in one shard: there is no other sensor to pair with."""
    recordings = [replace(recording(f"track{k}"), session_id="artist") for k in range(40)]
    assert [len(shard.contexts) for shard in plan_shards(recordings, 4)] == [10] * 4


def test_a_session_larger_than_a_share_has_a_shard_almost_of_its_own():
    """100 recordings in one session, 100 in ten: the other three shards share the ten."""
    recordings = [r for n in "ab" for r in node("long", n, parts=50)]
    recordings += [r for s in range(10) for n in "ab" for r in node(f"ex{s}", n, parts=5)]
    loads = [sum(map(len, shard.contexts)) for shard in plan_shards(recordings, 4)]
    assert sorted(loads) == [30, 30, 40, 100]
