"""The split of sessions: exact shares of few, a hash that nothing moves of many."""

import hashlib
from collections import Counter

import pytest

from beam_features.datasets.split import draw_partitions, split, split_by_hash
from beam_features.recording import Recording


def names(total: int) -> list[str]:
    return [f"song {k}.mp3" for k in range(total)]


def counts(total: int) -> tuple[int, int, int]:
    drawn = Counter(split(names(total)).values())
    return drawn["train"], drawn["validation"], drawn["test"]


def moved(before: dict[str, str], after: dict[str, str]) -> int:
    return sum(after[name] != partition for name, partition in before.items() if name in after)


def test_shares_of_split_by_hash():
    """Of 10,000 contexts the standard deviation of the 10 % shares is 0.3 %."""
    drawn = [split_by_hash(f"song {k}.mp3") for k in range(10_000)]
    assert drawn.count("train") / 10_000 == pytest.approx(0.8, abs=0.015)
    assert drawn.count("validation") / 10_000 == pytest.approx(0.1, abs=0.01)
    assert drawn.count("test") / 10_000 == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("context", "percentile", "partition"),
    [
        ("dog/a.wav", 21, "train"),
        ("ünicode é.wav", 55, "train"),
        ("song6", 95, "test"),
        ("song10", 91, "test"),
        ("song20", 85, "validation"),
        ("song33", 80, "validation"),
    ],
)
def test_split_by_hash_is_pinned(context, percentile, partition):
    digest = hashlib.sha256(context.encode()).digest()
    assert int.from_bytes(digest[:4], "big") % 100 == percentile
    assert split_by_hash(context) == partition


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        (0, (0, 0, 0)),
        (1, (1, 0, 0)),
        (2, (2, 0, 0)),
        (3, (1, 1, 1)),
        (5, (3, 1, 1)),
        (8, (6, 1, 1)),
        (10, (8, 1, 1)),
        (24, (19, 3, 2)),  # 19.2, 2.4, 2.4
        (95, (76, 10, 9)),  # 76, 9.5, 9.5
        (99, (79, 10, 10)),  # 79.2, 9.9, 9.9
    ],
)
def test_small_splits_are_exact(total, expected):
    assert counts(total) == expected


def test_from_100_sessions_on_the_hash_alone_decides():
    assert split(names(100)) == {name: split_by_hash(name) for name in names(100)}


def test_order_and_repetition_make_no_difference():
    assert split([*reversed(names(8)), *names(8)]) == split(names(8))


def test_one_more_session_moves_at_most_two_others():
    """Whatever its place in the order: every total below 99, every place."""
    most = Counter()
    for total in range(1, 99):
        after = split(names(total + 1))
        for new in after:
            most[total] = max(most[total], moved(split(after.keys() - {new}), after))
    assert max(most.values()) == 2
    assert min(most[total] for total in range(3, 99)) == 1


def test_crossing_100_sessions_moves_few():
    """About five on average, since both rules share the order; with another order about 33."""
    moves = []
    for trial in range(200):
        sessions = [f"{trial}/{name}" for name in names(100)]
        moves.append(moved(split(sessions[:-1]), split(sessions)))
    assert sum(moves) / len(moves) == pytest.approx(5.5, abs=0.7)
    assert max(moves) <= 25


def recording(name: str, session: str, partition: str = "") -> Recording:
    return Recording(name, name, None, partition, name, session, drawn=not partition)


def test_sessions_stay_together_and_fixed_partitions_stay():
    """Sessions s0 to s7 are split 6/1/1; the recordings of s9 are where the table says."""
    drawn = [recording(f"{session}-{k}", f"s{session}") for session in range(8) for k in "ab"]
    listed = draw_partitions([*drawn, recording("fixed", "s9", "holdout")])
    assert listed[-1].partition == "holdout"
    assert {r.session_id: r.partition for r in listed[:-1]} == split(f"s{k}" for k in range(8))
    assert Counter(r.partition for r in listed[:-1]) == {"train": 12, "validation": 2, "test": 2}


def test_drawn_recordings_follow_the_fixed_partition_of_their_session():
    listed = draw_partitions([recording("a", "tape", "test"), recording("b", "tape")])
    assert [r.partition for r in listed] == ["test", "test"]


def test_drawing_again_after_sessions_merged():
    """Eight sessions of which two turn out to be one: seven are split anew, 5/1/1."""
    before = draw_partitions(recording(str(k), f"s{k % 7}") for k in range(8))
    assert draw_partitions(before) == before
    assert Counter({r.session_id: r.partition for r in before}.values()) == {
        "train": 5,
        "validation": 1,
        "test": 1,
    }
