import numpy as np
import tensorflow as tf

from trainer.augment import N_DRAWS, augment


def augmented(draws: list[float], tile: np.ndarray) -> np.ndarray:
    return augment(tf.constant(tile[None]), tf.constant([draws], tf.float32)).numpy()[0]


TILE = np.arange(200, dtype=np.float32).reshape(20, 10)
MIDDLE_GAIN = 0.5  # of the range -1 to 1: none


def test_without_gain_and_masks_the_tile_stays() -> None:
    np.testing.assert_array_equal(augmented([MIDDLE_GAIN, 0, 0.3, 0, 0.9], TILE), TILE)


def test_gain_shifts_all_values_by_up_to_one_log_unit() -> None:
    np.testing.assert_allclose(augmented([0, 0, 0, 0, 0], TILE), TILE - 1)
    np.testing.assert_allclose(augmented([0.75, 0, 0, 0, 0], TILE), TILE + 0.5)


def test_masks_hide_the_drawn_span_behind_the_mean() -> None:
    """Length draw 0.8 of a quarter of 20 frames: 4 frames, from 0.5 * (20 - 4) = 8 on."""
    hidden = augmented([MIDDLE_GAIN, 0.8, 0.5, 0, 0], TILE)
    assert (hidden != TILE).any(axis=1).nonzero()[0].tolist() == [8, 9, 10, 11]
    np.testing.assert_allclose(hidden[8:12], TILE.mean())


def test_mel_masks_reach_both_edges() -> None:
    """Length draw 1 of a fifth of 10 mels: 2 mels."""
    low = augmented([MIDDLE_GAIN, 0, 0, 1, 0], TILE)
    high = augmented([MIDDLE_GAIN, 0, 0, 1, 1], TILE)
    assert (low != TILE).any(axis=0).nonzero()[0].tolist() == [0, 1]
    assert (high != TILE).any(axis=0).nonzero()[0].tolist() == [8, 9]


def test_tiles_of_a_batch_are_augmented_apart() -> None:
    draws = tf.random.stateless_uniform([5, N_DRAWS], [0, 0])
    together = augment(tf.constant(np.stack([TILE] * 5)), draws)
    apart = [augmented(row.numpy().tolist(), TILE) for row in draws]
    np.testing.assert_allclose(together, apart, rtol=1e-6)
