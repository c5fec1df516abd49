"""What stays, what is copied and what is decoded when the files have changed."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest

from beam_features.job.attempt import PlannedShard
from beam_features.job.finished import FinishedShard
from beam_features.job.plan import group_into_units
from beam_features.job.shard_writer import ShardSummary
from beam_features.job.update import Listed, Plan, describe_changes, plan_update
from beam_features.recording import Outcome, Recording, Rejection
from beam_features.schema.dataset_info import Moments
from dem.access import FileVersion

Files = dict[Recording, str]  # the version of each


def song(name: str, partition: str = "train", **others: str) -> Recording:
    fields = {"label": None, "context_id": name, "session_id": name} | others
    return Recording(name, f"/in/{name}", partition=partition, **fields)


def songs(n: int) -> Files:
    return {song(f"{k}.wav", "train" if k % 5 else "test"): "1" for k in range(n)}


def listed(files: Files) -> Listed:
    versions = {r.uri: FileVersion(1, 1.0, version) for r, version in files.items() if version}
    labels = sorted({r.label for r in files if r.label is not None})
    return Listed(list(files), versions, {name: index for index, name in enumerate(labels)})


def finish(planned: PlannedShard, rejected: Iterable[Rejection] = ()) -> FinishedShard:
    """A worker's result: a strip of each recording that is not rejected."""
    why = {rejection.uri: rejection for rejection in rejected}
    recordings = [r for context in planned.shard.contexts for r in context]
    outcomes = tuple(Outcome(r.recording_id, why.get(r.uri)) for r in recordings)
    strips = sum(outcome.rejection is None for outcome in outcomes)
    summary = ShardSummary(strips, strips, strips, Moments(0, (), ()), outcomes)
    return FinishedShard(planned.shard, planned.versions, summary)


def run(
    files: Files,
    earlier: Sequence[FinishedShard] = (),
    update: int = 0,
    rejected: Iterable[Rejection] = (),
) -> tuple[Plan, list[FinishedShard]]:
    plan = plan_update(listed(files), earlier, update, None)
    return plan, [*plan.kept, *(finish(planned, rejected) for planned in plan.made)]


def ids(shards: Iterable[FinishedShard | PlannedShard]) -> list[str]:
    return sorted(r.recording_id for s in shards for c in s.shard.contexts for r in c)


def names(shards: Iterable[FinishedShard | PlannedShard]) -> list[str]:
    return [shard.shard.name for shard in shards]


def shard_with(name: str, shards: Iterable[FinishedShard]) -> FinishedShard:
    (found,) = (shard for shard in shards if name in ids([shard]))
    return found


def test_nothing_has_changed():
    files = songs(450)
    _, first = run(files)
    again, _ = run(files, first, 1)
    assert again == Plan(tuple(first), ())
    assert describe_changes(listed(files), first) == "450 kept"


def test_a_new_file_is_a_shard_of_its_own_and_all_others_stay():
    files = songs(450)
    _, first = run(files)
    plan, _ = run(files | {song("new.wav"): "1"}, first, 1)
    assert plan.kept == tuple(first)
    (made,) = plan.made
    assert (made.shard.name, made.origins) == ("train+1-00000-of-00001.tfrecord", ())
    assert ids([made]) == ["new.wav"]
    assert describe_changes(listed(files | {song("new.wav"): "1"}), first) == "1 new, 450 kept"


def test_what_is_left_of_a_shard_is_copied_when_a_file_is_gone():
    files = songs(450)
    _, first = run(files)
    broken = shard_with("7.wav", first)
    del files[song("7.wav")]
    plan, _ = run(files, first, 1)
    assert set(names(plan.kept)) == set(names(first)) - {broken.shard.name}
    (made,) = plan.made
    assert made.origins == (broken.shard.name,)
    assert ids([made]) == sorted(set(ids([broken])) - {"7.wav"})
    assert {o.recording_id for o in made.outcomes} == set(ids([made]))
    assert describe_changes(listed(files), first) == "449 kept, 1 gone"


def test_a_file_that_has_changed_is_decoded_and_its_neighbours_are_copied():
    files = songs(450)
    _, first = run(files)
    plan, _ = run(files | {song("7.wav"): "2"}, first, 1)
    copied, decoded = plan.made
    assert copied.origins == (shard_with("7.wav", first).shard.name,)
    assert (ids([decoded]), decoded.origins) == (["7.wav"], ())
    assert decoded.versions["/in/7.wav"].version == "2"
    assert describe_changes(listed(files | {song("7.wav"): "2"}), first) == "1 changed, 449 kept"


@pytest.mark.parametrize(
    "change",
    [
        {"label": "rain"},
        {"partition": "validation"},
        {"session_id": "a"},
        {"sensor_id": "b"},
        {"offset_s": 2.0},
    ],
)
def test_another_place_in_the_dataset_is_a_change(change):
    files = songs(20)
    _, first = run(files)
    del files[song("7.wav")]
    files[replace(song("7.wav"), **change)] = "1"
    plan, _ = run(files, first, 1)
    assert ids(shard for shard in plan.made if not shard.origins) == ["7.wav"]
    assert describe_changes(listed(files), first) == "1 changed, 19 kept"


def test_further_columns_change_no_tile_and_are_brought_up_to_date():
    files = songs(20)
    _, first = run(files)
    del files[song("7.wav")]
    named = replace(song("7.wav"), columns=(("artist", "Ada"),))
    plan, _ = run(files | {named: "1"}, first, 1)
    assert plan.made == ()
    assert named in list(shard_with("7.wav", plan.kept).recordings)


# Rejected recordings


def rejection(name: str, stage: str) -> Rejection:
    return Rejection(f"/in/{name}", stage, "reason", "")


def test_a_rejected_recording_is_tried_again_only_when_its_file_changes():
    files = songs(20)
    _, first = run(files, rejected=[rejection("7.wav", "decode")])
    assert run(files, first, 1)[0].made == ()
    plan, _ = run(files | {song("7.wav"): "2"}, first, 1)
    assert ids(plan.made) == ["7.wav"]
    assert names(plan.kept) == names(first)  # it had no tiles there
    assert "7.wav" not in ids(plan.kept)


def test_what_could_not_be_read_is_tried_again_and_its_shard_stays():
    files = songs(20)
    _, first = run(files, rejected=[rejection("7.wav", "read")])
    plan, second = run(files, first, 1, rejected=[rejection("7.wav", "read")])
    assert (ids(plan.made), names(plan.kept)) == (["7.wav"], names(first))
    assert describe_changes(listed(files), first) == "19 kept, 1 retried"
    assert [f.shard.name for f in second if not f.is_listed] == ["train+1-00000-of-00001.tfrecord"]
    third, _ = run(files, second, 2)
    assert ids(third.made) == ["7.wav"]


def test_what_is_still_missing_is_not_tried_again():
    files = songs(20) | {song("gone.wav"): ""}
    _, first = run(files, rejected=[rejection("gone.wav", "read")])
    assert run(files, first, 1)[0].made == ()
    plan, _ = run(files | {song("gone.wav"): "1"}, first, 1)
    assert ids(plan.made) == ["gone.wav"]


def test_a_rejected_recording_that_is_gone_leaves_its_shard_as_it_is():
    files = songs(20)
    _, first = run(files, rejected=[rejection("7.wav", "decode")])
    del files[song("7.wav")]
    plan, _ = run(files, first, 1)
    assert (plan.made, names(plan.kept)) == ((), names(first))
    assert "7.wav" not in ids(plan.kept)


# Sessions


def test_a_further_sensor_moves_its_session_into_one_shard():
    files = {song(f"{k}.wav", session_id=f"s{k}", sensor_id="a"): "1" for k in range(20)}
    _, first = run(files)
    plan, _ = run(files | {song("7b.wav", session_id="s7", sensor_id="b"): "1"}, first, 1)
    decoded = [shard for shard in plan.made if not shard.origins]
    assert [ids([shard]) for shard in decoded] == [["7.wav", "7b.wav"]]
    assert len(group_into_units(decoded[0].shard.contexts)) == 1


# Many updates


def test_small_updates_do_not_add_up_to_many_shards():
    """60 updates of 5 files each: 300 recordings in the shards of updates."""
    files = songs(100)
    _, shards = run(files)
    for update in range(1, 61):
        files |= {song(f"{update}-{k}.wav"): "1" for k in range(5)}
        plan, shards = run(files, shards, update)
        assert sum(len(ids([shard])) for shard in plan.made if shard.origins) <= 100
    assert ids(shards) == sorted(r.recording_id for r in files)
    of_updates = [shard for shard in shards if shard.shard.update]
    assert len(of_updates) <= 300 / 50 + 2


@pytest.mark.parametrize("seed", range(5))
def test_any_sequence_of_changes_keeps_every_recording_once_and_decodes_no_more(seed):
    draw = random.Random(seed)
    files, n = songs(60), 60
    _, shards = run(files)
    for update in range(1, 12):
        before = dict(files)
        for recording in draw.sample(list(files), draw.randrange(6)):
            del files[recording]
        for recording in draw.sample(list(files), draw.randrange(6)):
            files[recording] = f"{update}"
        for _ in range(draw.randrange(8)):
            files[song(f"{n}.wav", draw.choice(["train", "test", "more"]))], n = "1", n + 1
        plan, shards = run(files, shards, update)
        assert ids(shards) == sorted(recording.recording_id for recording in files)
        assert len(set(names(shards))) == len(shards)
        decoded = {name for shard in plan.made if not shard.origins for name in ids([shard])}
        assert decoded == {r.recording_id for r in files if before.get(r) != files[r]}
