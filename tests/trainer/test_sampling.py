import numpy as np
import tensorflow as tf

from trainer.sampling import sample_pairs

TILE_FRAMES, N_MELS = 10, 2
SILENCE = -13.8


def numbered_frames(n_tiles: int) -> np.ndarray:
    """Tiles whose every value is the number of its frame in the strip."""
    frames = np.arange(n_tiles * TILE_FRAMES, dtype=np.float32)
    return np.repeat(frames, N_MELS).reshape(n_tiles, TILE_FRAMES, N_MELS)


def draw(
    log_mel: np.ndarray, recordings: list[int], neighbourhood_tiles: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    anchors, neighbours = sample_pairs(
        tf.constant(log_mel),
        tf.constant(recordings),
        neighbourhood_tiles=neighbourhood_tiles,
        silence=SILENCE,
        seed=tf.constant([seed, 0], tf.int64),
    )
    return anchors.numpy(), neighbours.numpy()


def first_frames(tiles: np.ndarray) -> np.ndarray:
    return tiles[:, 0, 0].astype(int)


def test_cuts_are_consecutive_frames_within_one_recording() -> None:
    recordings = [0, 0, 0, 1, 1, 2]
    inside = [(0, 20), (0, 20), (0, 20), (30, 40), (30, 40), (50, 50)]  # first frames allowed
    for seed in range(50):
        for tiles in draw(numbered_frames(6), recordings, 2, seed):
            starts = first_frames(tiles)
            np.testing.assert_array_equal(tiles[:, :, 0] - starts[:, None], [range(10)] * 6)
            assert all(any(low <= start <= high for low, high in inside) for start in starts)


def test_anchors_lie_around_their_tile_and_off_the_grid() -> None:
    starts = np.array([first_frames(draw(numbered_frames(8), [0] * 8, 3, s)[0]) for s in range(60)])
    grid = np.arange(8) * TILE_FRAMES
    assert (np.abs(starts - grid) <= TILE_FRAMES / 2).all()
    assert len(np.unique(starts[:, 4] - 40)) == 11  # every shift from -5 to 5


def test_neighbours_are_other_tiles_at_most_the_neighbourhood_away() -> None:
    reached = set()
    for seed in range(200):
        _, neighbours = draw(numbered_frames(9), list(range(9)), 2, seed)
        tiles = first_frames(neighbours) // TILE_FRAMES  # each tile a recording: cut on the grid
        reached |= {int(gap) for gap in tiles - np.arange(9)}
    assert reached == {-2, -1, 1, 2}


def test_silent_tiles_are_neither_anchors_nor_neighbours() -> None:
    log_mel = numbered_frames(6)
    log_mel[[1, 4]] = np.log(1e-6)
    for seed in range(50):
        anchors, neighbours = draw(log_mel, list(range(6)), 5, seed)
        assert first_frames(anchors).tolist() == [0, 20, 30, 50]
        assert (neighbours > SILENCE).all()


def test_a_silent_strip_gives_no_pairs() -> None:
    anchors, neighbours = draw(
        np.full((3, TILE_FRAMES, N_MELS), np.log(1e-6), np.float32), [0] * 3, 2, 0
    )
    assert anchors.shape == neighbours.shape == (0, TILE_FRAMES, N_MELS)


def test_a_tile_that_is_alone_is_its_own_neighbour() -> None:
    anchors, neighbours = draw(numbered_frames(1), [0], 3, 0)
    np.testing.assert_array_equal(anchors, neighbours)


def test_pairs_depend_on_the_seed_alone() -> None:
    first, again, other = (draw(numbered_frames(8), [0] * 8, 3, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
