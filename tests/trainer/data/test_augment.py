import numpy as np
import pytest
import tensorflow as tf

from dem.errors import InputError
from trainer.choices import AUGMENTATIONS
from trainer.data.augment import (
    N_DRAWS,
    add_noise,
    augment_pairs,
    change_level,
    check_mixing,
    equalise,
    mix,
    shift,
)

TILE = np.arange(200, dtype=np.float32).reshape(20, 10)
ALL = tuple(AUGMENTATIONS)


def pair(names: tuple[str, ...], **columns: float) -> np.ndarray:
    """The anchor that comes of two equal tiles and draws of 0.5, but for those given."""
    draws = np.full((2, 1, N_DRAWS), 0.5, np.float32)
    for column, value in columns.items():
        draws[..., int(column.removeprefix("draw"))] = value
    tiles = tf.constant(TILE[None])
    return augment_pairs(names, tiles, tiles, tf.constant([1]), tf.constant(draws)).numpy()[0]


def test_nothing_switched_on_leaves_the_tile() -> None:
    np.testing.assert_array_equal(pair(()), TILE)


def test_gain_shifts_all_values_by_up_to_one_log_unit() -> None:
    tiles = tf.constant(np.stack([TILE] * 3))
    changed = change_level(tiles, tf.constant([0.0, 0.5, 0.75])).numpy()
    np.testing.assert_allclose(changed - TILE, np.full((3, 20, 10), [[[-1]], [[0]], [[0.5]]]))


def test_the_equaliser_adds_a_smooth_curve_over_the_mel_axis() -> None:
    """One draw at a time: a cosine of 1, 2 or 3 half periods, up to two log units either way."""
    centres = (np.arange(10) + 0.5) / 10
    tiles = tf.constant(np.stack([TILE] * 4))
    draws = np.full((4, 3), 0.5, np.float32)
    draws[0, 0], draws[1, 1], draws[2, 2] = 1.0, 0.0, 0.75
    curves = equalise(tiles, tf.constant(draws)).numpy() - TILE
    np.testing.assert_allclose(curves, np.broadcast_to(curves[:, :1], curves.shape), atol=1e-4)
    expected = [2 * np.cos(np.pi * centres), -2 * np.cos(2 * np.pi * centres)]
    expected += [np.cos(3 * np.pi * centres), np.zeros(10)]
    np.testing.assert_allclose(curves[:, 0], expected, atol=1e-4)
    np.testing.assert_allclose(pair(("equaliser",), draw10=1) - TILE, curves[0], atol=1e-4)


def test_masks_hide_the_drawn_span_behind_the_mean() -> None:
    """Length draw 0.8 of a quarter of 20 frames: 4 frames, from 0.5 * (20 - 4) = 8 on."""
    hidden = pair(("time_mask",), draw6=0.8, draw7=0.5)
    assert (hidden != TILE).any(axis=1).nonzero()[0].tolist() == [8, 9, 10, 11]
    np.testing.assert_allclose(hidden[8:12], TILE.mean())


def test_mel_masks_reach_both_edges() -> None:
    """Length draw 1 of a fifth of 10 mels: 2 mels."""
    low, high = (pair(("mel_mask",), draw8=1, draw9=start) for start in (0, 1))
    assert (low != TILE).any(axis=0).nonzero()[0].tolist() == [0, 1]
    assert (high != TILE).any(axis=0).nonzero()[0].tolist() == [8, 9]


def test_shifts_go_round_in_time_and_bring_silence_in_mel() -> None:
    """A tenth of 20 frames: up to 2; 10 / 64 of 10 mels: up to 1."""
    tiles = tf.constant(np.stack([TILE] * 3))
    draws = tf.constant([0.0, 0.5, 0.99])
    back, same, on = shift(tiles, draws, tf.constant([0.5, 0.5, 0.5])).numpy()
    np.testing.assert_array_equal(back, np.roll(TILE, -2, axis=0))
    np.testing.assert_array_equal(same, TILE)
    np.testing.assert_array_equal(on, np.roll(TILE, 2, axis=0))
    down, _, up = shift(tiles, tf.constant([0.5, 0.5, 0.5]), draws).numpy()
    np.testing.assert_array_equal(down[:, :9], TILE[:, 1:])
    np.testing.assert_array_equal(up[:, 1:], TILE[:, :9])
    assert (down[:, 9] == TILE.min()).all()
    assert (up[:, 0] == TILE.min()).all()


def test_mixing_adds_powers_1_4_to_6_units_below() -> None:
    """Powers 2 and 50, each of an even tile: the sum is 2 (1 + e^-1.4) and 2 (1 + e^-6)."""
    tiles = tf.fill([2, 20, 10], np.log(np.float32(2)))
    others = tf.fill([2, 20, 10], np.log(np.float32(50)))
    mixed = np.exp(mix(tiles, others, tf.constant([0.0, 1.0])).numpy())
    np.testing.assert_allclose(mixed[0], 2 * (1 + np.exp(-1.4)), rtol=1e-5)
    np.testing.assert_allclose(mixed[1], 2 * (1 + np.exp(-6)), rtol=1e-5)


def test_noise_adds_exponential_power_1_to_6_units_below() -> None:
    """Of 500 tiles: mean and standard deviation of the power added are equal."""
    draws = np.random.default_rng(0).uniform(size=500).astype(np.float32)
    for level, below in ((0.0, 1.0), (1.0, 6.0)):
        noisy = add_noise(tf.zeros([500, 20, 10]), tf.fill([500], level), tf.constant(draws))
        added = np.exp(noisy.numpy().astype(float)) - 1
        assert added.mean() == pytest.approx(np.exp(-below), rel=0.03)
        assert added.std() == pytest.approx(np.exp(-below), rel=0.05)


def test_only_neighbours_are_mixed_with_the_anchor_beside_if_of_another_session() -> None:
    rng = np.random.default_rng(0)
    anchors, neighbours = rng.normal(-4, 1, (2, 6, 20, 10)).astype(np.float32)
    draws = np.full((2, 6, N_DRAWS), 0.25, np.float32)
    sessions = tf.constant([1, 2, 3, 3, 4, 5])
    tiles = augment_pairs(("mix",), anchors, neighbours, sessions, draws).numpy()
    expected = mix(neighbours, anchors[[1, 0, 3, 2, 5, 4]], tf.fill([6], 0.25)).numpy()
    expected[2:4] = neighbours[2:4]
    np.testing.assert_allclose(tiles, [*anchors, *expected], rtol=1e-6)


def test_parts_of_a_batch_are_augmented_as_the_whole() -> None:
    """Two replicas of four pairs each, as one of eight."""
    rng = np.random.default_rng(0)
    anchors, neighbours = rng.normal(-4, 1, (2, 8, 20, 10)).astype(np.float32)
    draws = rng.uniform(size=(2, 8, N_DRAWS)).astype(np.float32)
    sessions = np.arange(8)
    whole = augment_pairs(ALL, anchors, neighbours, sessions, draws).numpy().reshape(2, 8, 20, 10)
    for part in (slice(0, 4), slice(4, 8)):
        own = augment_pairs(ALL, anchors[part], neighbours[part], sessions[part], draws[:, part])
        np.testing.assert_allclose(own, whole[:, part].reshape(8, 20, 10), rtol=1e-5, atol=1e-5)
    assert np.isfinite(whole).all()


def test_mixing_needs_an_even_share_for_each_replica() -> None:
    check_mixing(("mix",), 12, 2)
    check_mixing(("gain",), 10, 2)
    with pytest.raises(InputError, match="batch_size=10 is no multiple of 4, as mixing on 2"):
        check_mixing(("mix",), 10, 2)
