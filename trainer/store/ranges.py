"""Ascending whole numbers in runs, such as the audible tiles among all.

Few runs describe many numbers, so counting and finding numbers takes a binary search in a short
array.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ranges:
    """Numbers in runs.

    Attributes:
        first: the first number of each run, ascending ``[n_runs]``.
        before: how many numbers precede each run; at the end, how many there are ``[n_runs + 1]``.
    """

    first: Int64
    before: Int64

    @classmethod
    def where(cls, mask: npt.NDArray[np.bool_]) -> Self:
        """The indices at which a mask ``[n]`` is true."""
        edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
        return cls(edges[::2], np.concatenate([[0], np.cumsum(edges[1::2] - edges[::2])]))

    @classmethod
    def join(cls, parts: Iterable["Ranges"], offsets: Iterable[int]) -> Self:
        """Concatenate, after adding an offset to the numbers of each part."""
        first, counts = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        for part, offset in zip(parts, offsets, strict=True):
            first.append(part.first + offset)
            counts.append(np.diff(part.before))
        return cls(np.concatenate(first), np.concatenate([[0], np.cumsum(np.concatenate(counts))]))

    def __len__(self) -> int:
        """How many numbers there are."""
        return int(self.before[-1])

    def numbers(self) -> Int64:
        """All numbers."""
        lengths = np.diff(self.before)
        return np.repeat(self.first - self.before[:-1], lengths) + np.arange(len(self))


class RangeLookup:
    """Counts and finds numbers of `Ranges` in a graph of TensorFlow."""

    def __init__(self, ranges: Ranges) -> None:
        with tf.device("CPU:0"):
            self._first = tf.constant(ranges.first, tf.int64)
            self._before = tf.constant(ranges.before, tf.int64)

    def at(self, ranks: tf.Tensor) -> tf.Tensor:
        """The numbers of these ranks, from 0; arbitrary for a rank that does not exist."""
        run = last_not_above(self._before[:-1], ranks)
        return tf.gather(self._first, run) + ranks - tf.gather(self._before, run)

    def below(self, numbers: tf.Tensor) -> tf.Tensor:
        """How many of the ranges' numbers are below each of these."""
        run = last_not_above(self._first, numbers)
        before, after = tf.gather(self._before, run), tf.gather(self._before, run + 1)
        within = numbers - tf.gather(self._first, run)
        return tf.clip_by_value(before + within, before, after)

    def contain(self, numbers: tf.Tensor) -> tf.Tensor:
        """Whether each of these is among the ranges' numbers."""
        return self.below(numbers + 1) > self.below(numbers)


def last_not_above(ascending: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """Index of the last element ``[n]`` that is not above each value; 0 where all are."""
    found = tf.searchsorted(ascending, tf.reshape(values, [-1]), side="right", out_type=tf.int64)
    return tf.maximum(tf.reshape(found, tf.shape(values)) - 1, 0)
