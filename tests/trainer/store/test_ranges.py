"""Ranges and their lookup against plain lists of numbers."""

import numpy as np
import pytest
import tensorflow as tf

from trainer.store.ranges import RangeLookup, Ranges

RNG = np.random.default_rng(0)
MASKS = [
    np.zeros(0, np.bool_),
    np.zeros(9, np.bool_),
    np.ones(9, np.bool_),
    *(RNG.random(RNG.integers(1, 60)) < share for share in (0.05, 0.3, 0.5, 0.7, 0.95) * 6),
]


def test_numbers_are_where_the_mask_is_true() -> None:
    for mask in MASKS:
        ranges = Ranges.where(mask)
        expected = [place for place, true in enumerate(mask) if true]
        assert ranges.numbers().tolist() == expected
        assert len(ranges) == len(expected)
        n_runs = sum(place - 1 not in expected for place in expected)
        assert ranges.first.shape == (n_runs,)
        assert ranges.before.shape == (n_runs + 1,)


def test_joined_ranges_are_shifted_and_concatenated() -> None:
    offsets = np.cumsum([0, *(len(mask) for mask in MASKS)])
    joined = Ranges.join(map(Ranges.where, MASKS), offsets[:-1])
    assert joined.numbers().tolist() == Ranges.where(np.concatenate(MASKS)).numbers().tolist()
    assert Ranges.join([], []).numbers().tolist() == []


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (2, -1)])
def test_lookup_finds_counts_and_contains(shape: tuple[int, ...]) -> None:
    for mask in MASKS[2:]:
        numbers = [place for place, true in enumerate(mask) if true]
        if not numbers:
            continue
        lookup = RangeLookup(Ranges.where(mask))
        assert lookup.at(tf.range(len(numbers), dtype=tf.int64)).numpy().tolist() == numbers
        asked = np.arange(-2, len(mask) + 4 + len(mask) % 2).reshape(shape)
        below = [sum(number < place for number in numbers) for place in asked.ravel()]
        np.testing.assert_array_equal(lookup.below(asked), np.reshape(below, asked.shape))
        np.testing.assert_array_equal(lookup.contain(asked), np.isin(asked, numbers))
