import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from trainer.data.sampling import Sampling, sample_pairs

TILE_FRAMES, N_MELS = 10, 2
SILENCE = -13.8


@functools.cache
def in_graph(sampling: Sampling) -> Callable[..., dict[str, tf.Tensor]]:
    return tf.function(lambda group, seed: sample_pairs(group, sampling, seed))


def numbered_frames(n_tiles: int) -> np.ndarray:
    """Tiles whose every value is the number of its frame in the group."""
    frames = np.arange(n_tiles * TILE_FRAMES, dtype=np.float32)
    return np.repeat(frames, N_MELS).reshape(n_tiles, TILE_FRAMES, N_MELS)


def draw(
    log_mel: np.ndarray,
    recordings: list[int],
    seed: int,
    *,
    neighbourhood_frames: int = 20,
    positives: tuple[str, ...] = ("time",),
    strips: list[tuple[int, int, int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """First frames of anchors and neighbours in `strips` of (tiles, first tile, sensor)."""
    n_tiles, first_tile, sensor = np.array(strips or [(len(log_mel), 0, 0)]).T
    group = {
        "log_mel": tf.constant(log_mel),
        "recording": tf.constant(recordings),
        "label": tf.constant(recordings),
        "n_tiles": tf.constant(n_tiles),
        "first_tile": tf.constant(first_tile),
        "sensor": tf.constant(sensor),
    }
    sampling = Sampling(neighbourhood_frames, "time" in positives, "sensor" in positives, SILENCE)
    pairs = in_graph(sampling)(group, tf.constant([seed, 0], tf.int64))
    starts = pairs["starts"].numpy().T
    frames = log_mel.reshape(-1, N_MELS)
    for tiles, first in zip((pairs["anchors"], pairs["neighbours"]), starts, strict=True):
        np.testing.assert_array_equal(tiles, frames[first[:, None] + np.arange(TILE_FRAMES)])
    in_tiles = np.array(recordings)[starts // TILE_FRAMES]
    np.testing.assert_array_equal(pairs["labels"], in_tiles.T)
    return starts[0], starts[1]


def test_cuts_are_consecutive_frames_within_one_recording() -> None:
    """Recordings of 3, 2 and 1 tiles: first frames 0 to 20, 30 to 40, and 50."""
    allowed = {*range(21), *range(30, 41), 50}
    drawn = [draw(numbered_frames(6), [0, 0, 0, 1, 1, 2], seed) for seed in range(150)]
    assert {int(start) for pair in drawn for starts in pair for start in starts} == allowed


def test_anchors_lie_around_their_tile_and_off_the_grid() -> None:
    starts = np.array([draw(numbered_frames(8), [0] * 8, seed)[0] for seed in range(400)])
    grid = np.arange(8) * TILE_FRAMES
    assert (np.abs(starts - grid) <= TILE_FRAMES / 2).all()
    shifts, counts = np.unique(starts[:, 1:7] - grid[1:7], return_counts=True)
    assert shifts.tolist() == list(range(-5, 6))
    np.testing.assert_allclose(counts, 2400 / 11, atol=5 * np.sqrt(2400 / 11))


def test_neighbours_are_drawn_uniformly_up_to_the_neighbourhood_and_not_beyond() -> None:
    """In the middle of a long recording: 10 to 23 frames to either side, 28 distances in all."""
    apart = []
    for seed in range(400):
        anchors, neighbours = draw(numbered_frames(12), [0] * 12, seed, neighbourhood_frames=23)
        assert np.abs(neighbours - anchors).max() <= 23
        apart += (neighbours - anchors)[4:8].tolist()
    distances, counts = np.unique(apart, return_counts=True)
    assert distances.tolist() == [*range(-23, -9), *range(10, 24)]
    np.testing.assert_allclose(counts, 1600 / 28, atol=5 * np.sqrt(1600 / 28))


def test_neighbours_may_be_in_another_recording_of_the_strip() -> None:
    """Recordings of one tile: cuts on the grid, 1 or 2 tiles away."""
    reached = set()
    for seed in range(100):
        anchors, neighbours = draw(numbered_frames(9), list(range(9)), seed)
        reached |= {int(gap) for gap in neighbours - anchors}
    assert reached == {-20, -10, 10, 20}


def test_neighbours_overlap_the_anchor_only_where_nothing_else_is_there() -> None:
    """Two tiles allow starts 0 to 10: apart by 10 only from 0 to 10 and back."""
    for seed in range(200):
        for anchor, neighbour in zip(*draw(numbered_frames(2), [0, 0], seed), strict=True):
            assert neighbour == 10 - anchor if anchor in (0, 10) else neighbour != anchor


def test_silent_cuts_are_neither_anchors_nor_neighbours() -> None:
    """Frames 10 to 34 are silent: starts from 10 to 25 are, and tiles 1 and 2 have no anchor."""
    log_mel = numbered_frames(6)
    log_mel.reshape(-1, N_MELS)[10:35] = np.log(1e-6)
    drawn = [draw(log_mel, [0] * 6, seed, neighbourhood_frames=60) for seed in range(300)]
    assert {len(anchors) for anchors, _ in drawn} == {4}
    starts = {int(start) for pair in drawn for starts in pair for start in starts}
    assert starts == {*range(10), *range(26, 51)}


def test_a_silent_strip_gives_no_pairs() -> None:
    silent = np.full((3, TILE_FRAMES, N_MELS), np.log(1e-6), np.float32)
    for positives in (("time",), ("sensor",), ("time", "sensor")):
        anchors, neighbours = draw(silent, [0] * 3, 0, positives=positives)
        assert anchors.shape == neighbours.shape == (0,)


def test_a_tile_that_is_alone_is_its_own_neighbour() -> None:
    anchors, neighbours = draw(numbered_frames(1), [0], 0)
    np.testing.assert_array_equal(anchors, neighbours)


def test_pairs_depend_on_the_seed_alone() -> None:
    first, again, other = (draw(numbered_frames(8), [0] * 8, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# Three sensors of one session. Sensor 1: tiles 0 to 5 of the timeline; 2: tiles 0 and 1, a gap,
# tiles 4 and 5; 3: tiles 3 to 6. Among the group's tiles: 0-5, 6-7, 8-9, 10-13.
NODES = [(6, 0, 1), (2, 0, 2), (2, 4, 2), (4, 3, 3)]
TIMES = np.array([0, 1, 2, 3, 4, 5, 0, 1, 4, 5, 3, 4, 5, 6]) * TILE_FRAMES
SENSORS = np.array([1] * 6 + [2] * 4 + [3] * 4)
NODE_RECORDINGS = [1] * 6 + [2, 2, 3, 3] + [4] * 4


def at_sensors(positives: tuple[str, ...], seed: int) -> tuple[np.ndarray, np.ndarray]:
    return draw(numbered_frames(14), NODE_RECORDINGS, seed, positives=positives, strips=NODES)


def moment(starts: np.ndarray) -> np.ndarray:
    return TIMES[starts // TILE_FRAMES] + starts % TILE_FRAMES


def test_neighbours_at_sensors_are_the_same_instant_at_another_one() -> None:
    met = set()
    for seed in range(300):
        anchors, neighbours = at_sensors(("sensor",), seed)
        np.testing.assert_array_equal(moment(anchors), moment(neighbours))
        one, other = (SENSORS[starts // TILE_FRAMES] for starts in (anchors, neighbours))
        assert (one != other).all()
        met |= set(map(tuple, np.stack([moment(anchors) // TILE_FRAMES, one, other], 1).tolist()))
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


def test_an_anchor_that_one_sensor_alone_heard_has_no_neighbour_there() -> None:
    """Tile 2 of sensor 1 unless it starts with tile 1 or 3, tile 6 of sensor 3."""
    for seed in range(100):
        anchors, _ = at_sensors(("sensor",), seed)
        assert not ((moment(anchors) > 10) & (moment(anchors) < 30)).any()
        assert (moment(anchors) <= 50).all()


def test_with_both_positives_each_comes_first_for_half_and_steps_in_for_the_other() -> None:
    same, of_those_with_both = 0, 0
    for seed in range(300):
        anchors, neighbours = at_sensors(("time", "sensor"), seed)
        assert len(anchors) == 14
        one, other = (SENSORS[starts // TILE_FRAMES] for starts in (anchors, neighbours))
        instant = moment(anchors) == moment(neighbours)
        assert (instant == (one != other)).all()
        assert (np.abs(moment(anchors) - moment(neighbours)) <= 20).all()
        inner = (one == 1) & (moment(anchors) >= 40)
        same, of_those_with_both = same + (instant & inner).sum(), of_those_with_both + inner.sum()
    assert same / of_those_with_both == pytest.approx(0.5, abs=0.1)


def test_a_silent_sensor_is_no_neighbour() -> None:
    log_mel = numbered_frames(14)
    log_mel[6:10] = np.log(1e-6)  # sensor 2
    for seed in range(50):
        anchors, neighbours = draw(
            log_mel, NODE_RECORDINGS, seed, positives=("sensor",), strips=NODES
        )
        assert set(SENSORS[anchors // TILE_FRAMES]) == set(SENSORS[neighbours // TILE_FRAMES])
        assert 2 not in SENSORS[anchors // TILE_FRAMES]
