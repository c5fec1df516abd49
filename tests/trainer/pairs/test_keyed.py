"""Keyed permutations are one to one, and neither they nor uniform numbers show their keys."""

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from trainer.pairs.keyed import key_of, permute, scramble, uniform

Int64 = npt.NDArray[np.int64]


def passes_of(size: int, n_passes: int, seed: int) -> Int64:
    """Where places go in each of the passes of a seed ``[n_passes, size]``."""
    numbers = tf.range(n_passes * size, dtype=tf.int64)
    keys = key_of(seed, numbers // size)
    return permute(numbers % size, keys, size).numpy().reshape(n_passes, size)


def firsts_of(size: int, n_seeds: int) -> Int64:
    """Where places go in the first pass of each seed ``[n_seeds, size]``."""
    numbers = tf.range(n_seeds * size, dtype=tf.int64)
    keys = key_of(numbers // size, 0)
    return permute(numbers % size, keys, size).numpy().reshape(n_seeds, size)


def surplus(counts: npt.NDArray[np.integer], expected: float, freedom: int) -> float:
    """Chi-square in standard deviations above its mean."""
    chi_square = ((counts - expected) ** 2).sum() / expected
    return float((chi_square - freedom) / np.sqrt(2 * freedom))


@pytest.mark.parametrize("size", [*range(1, 51), 1000, 1024, 1025])
def test_every_place_goes_to_another(size: int) -> None:
    for permuted in passes_of(size, 3, seed=1):
        assert sorted(permuted) == list(range(size))


def test_any_part_of_the_places_can_be_asked_for() -> None:
    (whole,) = passes_of(1000, 1, seed=0)
    some = np.array([5, 999, 5, 0])
    keys = tf.fill([4], key_of(0, tf.constant(0, tf.int64)))
    assert permute(some, keys, 1000).numpy().tolist() == whole[some].tolist()
    assert permute(some[:0], keys[:0], 1000).shape == (0,)


def test_large_corpora_are_permuted_one_to_one() -> None:
    """Of 10^12 places, a million that follow each other go to a million others, far apart."""
    size = 10**12 + 7
    places = tf.range(10**6, dtype=tf.int64) + size - 10**6
    permuted = permute(places, tf.fill([10**6], key_of(3)), size).numpy()
    assert len(np.unique(permuted)) == 10**6
    assert permuted.min() >= 0
    assert permuted.max() < size
    assert surplus(np.bincount(permuted * 100 // size, minlength=100), 10**4, 99) < 5


def test_keys_give_different_permutations() -> None:
    assert len({tuple(permuted) for permuted in passes_of(20, 300, seed=0)}) == 300
    assert len({tuple(permuted) for permuted in firsts_of(20, 300)}) == 300


@pytest.mark.parametrize("size", [2, 3, 5, 10, 17])
def test_each_place_goes_everywhere_equally_often(size: int) -> None:
    """2,000 passes; 4 standard deviations, for each of four seeds."""
    for seed in range(4):
        passes = passes_of(size, 2000, seed)
        for places in passes.T:
            counts = np.bincount(places, minlength=size)
            assert surplus(counts, 2000 / size, size - 1) < 5


@pytest.mark.parametrize("size", [2, 3, 10, 13])
@pytest.mark.parametrize("pair", [(0, 1), (0, -1), (1, 2)])
def test_pairs_of_places_go_everywhere_equally_often(size: int, pair: tuple[int, int]) -> None:
    """`tf.random.experimental.index_shuffle` is 400 standard deviations off for 10 places."""
    one, other = (place % size for place in pair)
    if one == other:
        return
    for seed in range(2):
        passes = passes_of(size, 10_000, seed)
        counts = np.zeros((size, size), np.int64)
        np.add.at(counts, (passes[:, one], passes[:, other]), 1)
        apart = counts[~np.eye(size, dtype=bool)]
        assert np.trace(counts) == 0
        assert surplus(apart, 10_000 / len(apart), max(len(apart) - 1, 1)) < 5


@pytest.mark.parametrize("size", [3, 10])
@pytest.mark.parametrize("apart", [1, 2])
def test_consecutive_passes_are_independent(size: int, apart: int) -> None:
    """Where a place goes does not say where it, or the next one, goes in the pass after that."""
    passes = passes_of(size, 10_000, seed=5)
    for place, later in ((0, 0), (0, 1)):
        counts = np.zeros((size, size), np.int64)
        np.add.at(counts, (passes[:-apart, place], passes[apart:, later]), 1)
        assert surplus(counts, (10_000 - apart) / size**2, size**2 - 1) < 5


def test_seeds_that_follow_each_other_are_independent() -> None:
    firsts = firsts_of(10, 1000)
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (firsts[:-1, 0], firsts[1:, 0]), 1)
    assert surplus(counts, 9.99, 99) < 5


def test_scrambling_is_one_to_one_and_flips_half_of_the_bits() -> None:
    numbers = np.arange(2**16, dtype=np.uint64)
    scrambled = scramble(tf.constant(numbers)).numpy()
    assert len(np.unique(scrambled)) == 2**16
    for bit in (0, 31, 63):
        flipped = scramble(tf.constant(numbers ^ np.uint64(1 << bit))).numpy()
        changed = np.unpackbits((scrambled ^ flipped).view(np.uint8)).mean()
        assert changed == pytest.approx(0.5, abs=0.01)


def test_keys_depend_on_all_numbers_and_their_order() -> None:
    def key(*numbers: int) -> int:
        return int(key_of(*(tf.constant(number, tf.int64) for number in numbers)))

    keys = {key(), key(0), key(1), key(0, 0), key(0, 1), key(1, 0), key(2**32 - 1, 0), key(-1, 0)}
    assert len(keys) == 8
    assert int(key_of(2**32 - 1, 7)) == key(2**32 - 1, 7)
    assert int(key_of(3)) == key(3)


def test_uniform_numbers_are_uniform_and_independent() -> None:
    """10,000 numbers of neighbouring keys, in bins of a tenth each; columns in bins of pairs."""
    drawn = uniform(key_of(7, tf.range(10_000, dtype=tf.int64)), 3).numpy()
    assert drawn.dtype == np.float32
    assert 0 <= drawn.min() < drawn.max() < 1
    bins = (drawn * 10).astype(int)
    for column in bins.T:
        assert abs(surplus(np.bincount(column, minlength=10), 1000, 9)) < 4
    for one, other in ((0, 1), (0, 2), (1, 2)):
        pairs = np.bincount(bins[:, one] * 10 + bins[:, other], minlength=100)
        assert abs(surplus(pairs, 100, 99)) < 4
    following = np.bincount(bins[:-1, 0] * 10 + bins[1:, 0], minlength=100)
    assert abs(surplus(following, 99.99, 99)) < 4


def test_uniform_numbers_follow_from_their_key() -> None:
    keys = key_of(0, tf.range(9, dtype=tf.int64))
    np.testing.assert_array_equal(uniform(keys, 3)[4:5], uniform(keys[4:5], 3))
    np.testing.assert_array_equal(uniform(keys, 2), uniform(keys, 3)[:, :2])
