"""``dem compare``: the matrix, percentiles and moments."""

import numpy as np
import pytest


def test_the_matrix_and_percentiles(dem_json):
    result = dem_json("compare", "a", "b", "e")
    assert result["recordings"] == ["jazz/a.ogg", "jazz/b.ogg", "rock/e.ogg"]
    angles = np.array([0, 0.1, 1.5])
    expected = 1 - (1 - np.cos(np.subtract.outer(angles, angles))) / (1 - np.cos(1.5))
    np.testing.assert_allclose(result["similarity"], expected, atol=1e-5)
    percentile = result["percentile"]
    # Of the others of a, 3 of 5 are less similar than b; of those of b, 3 of 5 less than a.
    assert percentile[0][1] == percentile[1][0] == pytest.approx(60)
    assert percentile[0][2] == pytest.approx(0)
    assert percentile[0][0] == pytest.approx(80)  # the copy is not less similar


def test_moments(dem_json):
    result = dem_json("compare", "a", "c", "--tiles")
    assert result["moments"] == [
        {
            "one": "jazz/a.ogg",
            "one_s": 0.0,
            "other": "rock/c.ogg",
            "other_s": 0.0,
            "similarity": pytest.approx(np.cos(0.5), abs=1e-3),
        }
    ]


def test_table_and_csv(dem):
    assert dem("compare", "a", "b").decode().splitlines()[0].split() == [
        *("similarity", "percentile", "one", "other")
    ]
    assert dem("compare", "a", "b", "e", "--format", "csv").decode().count("\n") == 4


def test_one_song_is_refused(dem):
    assert b"takes two songs or more" in dem("compare", "a", code=2)
