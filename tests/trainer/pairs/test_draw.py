"""What pairs are drawn: rules one by one, and all of them against a plain loop."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from beam_features.schema.strip import Strip
from tests.trainer.corpora import SILENCE, index_strips, make_strip, random_strips
from tests.trainer.plain_pairs import PlainCorpus
from trainer.pairs import draw as module
from trainer.pairs.draw import N_DRAWS, PairDraw, Rules, rank_of

TILE_FRAMES = 10
NEAR = Rules(20)
ELSEWHERE = Rules(20, in_time=False, at_sensors=True)
BOTH = Rules(20, at_sensors=True)

Int64 = npt.NDArray[np.int64]


def strip(
    recordings: Sequence[str], first_tile: int = 0, context: str = "a", **other: object
) -> Strip:
    return make_strip(context, first_tile, recordings, tile_frames=TILE_FRAMES, **other)  # type: ignore[arg-type]


def sample(
    strips: Sequence[Strip], rules: Rules = NEAR, times: int = 200, seed: int = 0
) -> tuple[Int64, Int64]:
    """First frames of anchors and neighbours, drawn many times for each tile ``[times, n]``."""
    draw = PairDraw(index_strips(strips), rules)
    places = np.tile(np.arange(draw.n_anchors), times)
    draws = np.random.default_rng(seed).random((len(places), N_DRAWS), np.float32)
    starts = draw.draw(tf.constant(places, tf.int64), tf.constant(draws))["starts"].numpy()
    return tuple(starts.reshape(times, -1, 2).transpose(2, 0, 1))


# All rules at once


@pytest.mark.parametrize("days", [1, 2])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "rules", [Rules(7), Rules(2), Rules(9, False, True), Rules(12, True, True)]
)
def test_pairs_equal_those_of_a_plain_loop(rules: Rules, seed: int, days: int) -> None:
    """Sessions of several sensors, gaps, silence, recordings, and strips that join."""
    rng = np.random.default_rng([seed, days])
    strips = [
        dataclasses.replace(one, first_tile=one.first_tile + 100 * day)
        for day in range(days)
        for one in random_strips(rng)
    ]
    index, plain = index_strips(strips), PlainCorpus(strips, SILENCE)
    draw, tiles = PairDraw(index, rules), plain.anchors(rules)
    assert draw.n_anchors == len(tiles)
    if rules.at_sensors:
        only = dataclasses.replace(rules, in_time=False)
        assert draw.n_elsewhere == len(plain.anchors(only))
    places = np.tile(np.arange(len(tiles)), 3)
    draws = rng.random((len(places), N_DRAWS), np.float32)
    draws[rng.random(draws.shape) < 0.1] = 0
    draws[rng.random(draws.shape) < 0.1] = np.float32(1 - 2**-24)
    pairs = draw.draw(tf.constant(places), tf.constant(draws))
    expected = [plain.draw(rules, tiles[p], row) for p, row in zip(places, draws, strict=True)]
    assert pairs["starts"].numpy().tolist() == [list(pair) for pair in expected]
    assert [index.sessions.names[code] for code in pairs["sessions"].numpy()] == [
        plain.frames[anchor].session for anchor, _ in expected
    ]
    assert pairs["labels"].numpy().tolist() == [
        [plain.frames[start].label for start in pair] for pair in expected
    ]
    assert {value.dtype for value in pairs.values()} == {tf.int64}


def test_pairs_are_the_same_in_a_graph() -> None:
    draw = PairDraw(index_strips(random_strips(np.random.default_rng(0))), Rules(9, True, True))
    places = tf.range(draw.n_anchors, dtype=tf.int64)
    draws = tf.random.stateless_uniform([draw.n_anchors, N_DRAWS], [1, 2])
    for name, value in tf.function(draw.draw)(places, draws).items():
        np.testing.assert_array_equal(value, draw.draw(places, draws)[name])


# In time


def test_cuts_are_consecutive_frames_within_one_recording() -> None:
    """Recordings of 3, 2 and 1 tiles: first frames 0 to 20, 30 to 40, and 50."""
    drawn = sample([strip("aaabbc")], times=300)
    assert set(np.unique(drawn)) == {*range(21), *range(30, 41), 50}


def test_anchors_lie_around_their_tile_and_off_the_grid() -> None:
    anchors, _ = sample([strip("a" * 8)], times=400)
    grid = np.arange(8) * TILE_FRAMES
    assert (np.abs(anchors - grid) <= TILE_FRAMES / 2).all()
    shifts, counts = np.unique(anchors[:, 1:7] - grid[1:7], return_counts=True)
    assert shifts.tolist() == list(range(-5, 6))
    np.testing.assert_allclose(counts, 2400 / 11, atol=5 * np.sqrt(2400 / 11))


def test_neighbours_are_drawn_uniformly_up_to_the_neighbourhood_and_not_beyond() -> None:
    """In the middle of a long recording: 10 to 23 frames to either side, 28 distances in all."""
    anchors, neighbours = sample([strip("a" * 12)], Rules(23), times=400)
    assert np.abs(neighbours - anchors).max() <= 23
    distances, counts = np.unique((neighbours - anchors)[:, 4:8], return_counts=True)
    assert distances.tolist() == [*range(-23, -9), *range(10, 24)]
    np.testing.assert_allclose(counts, 1600 / 28, atol=5 * np.sqrt(1600 / 28))


def test_neighbours_may_be_in_another_recording_of_the_context() -> None:
    """Recordings of one tile: cuts on the grid, 1 or 2 tiles away."""
    anchors, neighbours = sample([strip("abcdefghi")])
    assert set(np.unique(neighbours - anchors)) == {-20, -10, 10, 20}


@pytest.mark.parametrize(
    "strips", [[strip("aaaa"), strip("aaaa", 4)], [strip("aaaa", 4), strip("aaaa")]]
)
def test_neighbours_cross_strips_of_a_context(strips: list[Strip]) -> None:
    """As if both were one strip."""
    crossed = sample(strips)
    np.testing.assert_array_equal(crossed, sample([strip("a" * 8)]))
    sides = [starts // (4 * TILE_FRAMES) for starts in crossed]
    assert (sides[0] != sides[1]).any()


def test_neighbours_do_not_cross_a_gap_or_contexts() -> None:
    """Tiles 0 to 3, 5 to 8, and another context that would follow."""
    strips = [strip("aaaa"), strip("aaaa", 5), strip("aaaa", 9, context="b")]
    for anchors, neighbours in zip(*sample(strips, Rules(100)), strict=True):
        np.testing.assert_array_equal(anchors // 40, neighbours // 40)
        np.testing.assert_array_equal(anchors // 40, np.repeat([0, 1, 2], 4))


def test_neighbours_overlap_the_anchor_only_where_nothing_else_is_there() -> None:
    """Two tiles allow starts 0 to 10: apart by 10 only from 0 to 10 and back."""
    for anchor, neighbour in zip(
        *(starts.ravel() for starts in sample([strip("aa")])), strict=True
    ):
        assert neighbour == 10 - anchor if anchor in (0, 10) else neighbour != anchor


def test_silent_cuts_are_neither_anchors_nor_neighbours() -> None:
    """Frames 10 to 34 are silent: starts from 10 to 25 are, and tiles 1 and 2 have no anchor."""
    quiet = (np.arange(60) >= 10) & (np.arange(60) < 35)
    anchors, neighbours = sample([strip("a" * 6, quiet=quiet)], Rules(60), times=400)
    assert anchors.shape == (400, 4)
    assert set(np.unique([anchors, neighbours])) == {*range(10), *range(26, 51)}


@pytest.mark.parametrize("rules", [NEAR, ELSEWHERE, BOTH])
def test_a_silent_corpus_has_no_anchors(rules: Rules) -> None:
    draw = PairDraw(index_strips([strip("aaa", quiet=np.ones(30, np.bool_))]), rules)
    assert (draw.n_anchors, draw.n_elsewhere) == (0, 0)


def test_a_tile_that_is_alone_is_its_own_neighbour() -> None:
    strips = [strip("a"), strip("a", 5), strip("a", 0, context="b")]
    anchors, neighbours = sample(strips, times=5)
    np.testing.assert_array_equal(anchors, [[0, 10, 20]] * 5)
    np.testing.assert_array_equal(anchors, neighbours)


def test_labels_are_those_of_the_cuts() -> None:
    """Tiles are recordings of their own, so that cuts are tiles."""
    draw = PairDraw(index_strips([strip("abcd", labels=[2, -1, 7, 2**40])]), NEAR)
    pairs = draw.draw(tf.range(4, dtype=tf.int64), tf.random.stateless_uniform([4, 3], [0, 1]))
    labels = np.array([2, -1, 7, 2**40])
    np.testing.assert_array_equal(pairs["labels"], labels[pairs["starts"].numpy() // TILE_FRAMES])


# Three sensors of one session. Sensor 1: tiles 0 to 5 of the timeline; 2: tiles 0 and 1, a gap,
# tiles 4 and 5; 3: tiles 3 to 6. In the store: 0-5, 6-7, 8-9, 10-13.
NODES = [
    strip("aaaaaa", 0, "m1", session="s", sensor="1"),
    strip("bb", 0, "m2", session="s", sensor="2"),
    strip("cc", 4, "m2", session="s", sensor="2"),
    strip("dddd", 3, "m3", session="s", sensor="3"),
]
TIMES = np.array([0, 1, 2, 3, 4, 5, 0, 1, 4, 5, 3, 4, 5, 6]) * TILE_FRAMES
SENSORS = np.array([1] * 6 + [2] * 4 + [3] * 4)


def moment(starts: Int64) -> Int64:
    return np.asarray(TIMES[starts // TILE_FRAMES] + starts % TILE_FRAMES)


def sensor(starts: Int64) -> Int64:
    return np.asarray(SENSORS[starts // TILE_FRAMES])


def test_neighbours_at_sensors_are_the_same_instant_at_another_one() -> None:
    anchors, neighbours = (starts.ravel() for starts in sample(NODES, ELSEWHERE, times=300))
    np.testing.assert_array_equal(moment(anchors), moment(neighbours))
    one, other = sensor(anchors), sensor(neighbours)
    assert (one != other).all()
    met = set(map(tuple, np.stack([moment(anchors) // TILE_FRAMES, one, other], 1).tolist()))
    assert met == {
        *[(0, 1, 2), (0, 2, 1), (1, 1, 2), (1, 2, 1)],
        *[(3, 1, 3), (3, 3, 1)],
        *[
            (time, one, other)
            for time in (4, 5)
            for one in (1, 2, 3)
            for other in {1, 2, 3} - {one}
        ],
    }


def test_of_several_sensors_each_is_as_likely() -> None:
    anchors, neighbours = sample(NODES, ELSEWHERE, times=2000)
    of_four = neighbours[
        :, (sensor(anchors) == 1).all(axis=0) & (moment(anchors) >= 40).all(axis=0)
    ]
    assert of_four.shape[1] > 0
    assert (sensor(of_four) == 2).mean() == pytest.approx(0.5, abs=0.04)


def test_a_tile_that_one_sensor_alone_recorded_is_no_anchor() -> None:
    """Tile 2 of sensor 1 and tile 6 of sensor 3."""
    anchors, _ = sample(NODES, ELSEWHERE)
    assert anchors.shape[1] == 12
    assert not ((moment(anchors) > 10) & (moment(anchors) < 30)).any()
    assert (moment(anchors) <= 50).all()


def test_an_anchor_whose_cut_was_not_recorded_elsewhere_is_its_tile() -> None:
    """Tile 1 of sensor 1 can begin at frame 5 to 10: sensor 2 has nothing from frame 11 on."""
    anchors, neighbours = sample(NODES, ELSEWHERE, times=600)
    starts, counts = np.unique(anchors[:, 1], return_counts=True)
    assert starts.tolist() == [5, 6, 7, 8, 9, 10]
    assert counts[-1] / counts.sum() == pytest.approx(6 / 11, abs=0.1)  # 10, and 11 to 15
    np.testing.assert_array_equal(neighbours[:, 1], anchors[:, 1] + 60)


def test_with_both_positives_each_comes_first_for_half_and_steps_in_for_the_other() -> None:
    anchors, neighbours = sample(NODES, BOTH, times=300)
    assert anchors.shape[1] == 14
    one, other = sensor(anchors), sensor(neighbours)
    instant = moment(anchors) == moment(neighbours)
    np.testing.assert_array_equal(instant, one != other)
    assert (np.abs(moment(anchors) - moment(neighbours)) <= 20).all()
    with_both = (one == 1) & (moment(anchors) >= 40)
    assert instant[with_both].mean() == pytest.approx(0.5, abs=0.1)
    alone = (one == 1) & (moment(anchors) > 10) & (moment(anchors) < 30)
    assert not instant[alone].any()


def test_a_silent_sensor_is_no_neighbour() -> None:
    quiet = [
        strip(one.recording_ids, one.first_tile, one.context_id, session="s", sensor="2", quiet=...)
        if one.sensor_id == "2"
        else one
        for one in NODES
    ]
    anchors, neighbours = sample(quiet, ELSEWHERE, times=50)
    assert set(np.unique(sensor(anchors))) == {1, 3}
    assert set(np.unique(sensor(neighbours))) == {1, 3}


def test_another_session_or_the_same_sensor_is_no_neighbour() -> None:
    """At the same time: another context of the same sensor, and another session."""
    others = [
        strip("aa", 0, "m1", session="s", sensor="1"),
        strip("bb", 0, "n1", session="s", sensor="1"),
        strip("cc", 0, "m2", session="t", sensor="2"),
    ]
    draw = PairDraw(index_strips(others), ELSEWHERE)
    assert (draw.n_anchors, draw.n_elsewhere) == (0, 0)


def test_many_contexts_of_a_session_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks do not change what is found."""
    strips = random_strips(np.random.default_rng(1))
    whole = PairDraw(index_strips(strips), ELSEWHERE).n_elsewhere
    for size in (1, 7, 40):
        monkeypatch.setattr(module, "_BLOCK", size)
        assert PairDraw(index_strips(strips), ELSEWHERE).n_elsewhere == whole > 5


def test_timelines_may_begin_today() -> None:
    """Seconds since 1970, in hops of a millisecond."""
    late = 1_800_000_000_000 // TILE_FRAMES
    strips = [
        strip("aa", late, f"{session} {name}", session=session, sensor=name)
        for session in "st"
        for name in "12"
    ]
    for anchors, neighbours in zip(*sample(strips, ELSEWHERE, times=20), strict=True):
        np.testing.assert_array_equal(neighbours, anchors + [20, 20, -20, -20] * 2)


def test_ranks_are_below_the_count() -> None:
    draws = tf.constant([0, 0.5, 1 - 2**-24, 0.5, 0.999], tf.float32)
    counts = tf.constant([3, 3, 3, 0, 1], tf.int64)
    assert rank_of(draws, counts).numpy().tolist() == [0, 1, 2, 0, 0]
    assert rank_of(draws, tf.constant(2**26, tf.int64) + tf.zeros(5, tf.int64))[2] < 2**26
