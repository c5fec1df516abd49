"""Paths between songs."""

import numpy as np
import pytest

from similarity.order.steps import interpolate, path_rows

ANGLES = np.linspace(0, np.pi / 2, 10)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def test_songs_on_an_arc_follow_each_other():
    assert path_rows(CIRCLE, [0, 9], 4) == [0, 3, 6, 9]


def test_via_is_passed():
    path = path_rows(CIRCLE, [0, 9, 4], 5)
    assert (path[0], path[-1], len(path), len(set(path))) == (0, 4, 5, 5)
    assert 9 in path[1:-1]


def test_only_the_ends():
    assert path_rows(CIRCLE, [2, 7], 2) == [2, 7]


def test_a_library_that_is_too_small_gives_all_it_has():
    assert path_rows(CIRCLE[:4], [0, 3], 9) == [0, 1, 2, 3]


def test_variety_avoids_copies():
    songs = np.concatenate([CIRCLE, CIRCLE[[4, 4, 4]]])  # three copies of the middle
    plain, varied = path_rows(songs, [3, 5], 5), path_rows(songs, [3, 5], 5, variety=1.0)
    copies = {4, 10, 11, 12}
    assert len(copies & set(plain)) == 3
    assert len(copies & set(varied)) <= 1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_steps_are_of_length_one_and_equal_angle(share):
    step = interpolate(CIRCLE[0], CIRCLE[9], share)
    np.testing.assert_allclose(step, [np.cos(share * np.pi / 2), np.sin(share * np.pi / 2)])


def test_equal_ends_have_no_arc():
    assert interpolate(CIRCLE[1], CIRCLE[1], 0.7).tolist() == CIRCLE[1].tolist()
