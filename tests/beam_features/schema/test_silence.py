"""Silence: zeros are silent and the next value of float16 is audible, whatever the offset."""

import numpy as np
import pytest

from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.silence import is_audible, silence_level


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("log_offset", [1e-37, 1.04543e-37, 1e-20, 1e-10, 1e-6, 1.0, 50.0])
def test_zeros_are_silent_in_the_record_and_before(log_offset, dtype):
    """Float16 rounds log(1.04543e-37) up by 0.026."""
    spec = FeatureSpec(log_offset=log_offset)
    zeros = np.full((2, *spec.tile_shape), np.log(np.float32(log_offset)), dtype)
    assert is_audible(zeros, spec).tolist() == [False, False]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_one_value_makes_a_tile_audible(dtype):
    """log(1e-6) is -13.8125 in float16, whose next value is -13.8047; the level is -13.8055."""
    spec = FeatureSpec()
    assert silence_level(spec) == pytest.approx(np.log(1e-6) + 0.01)
    tiles = np.full((3, 2, *spec.tile_shape), np.log(1e-6), dtype)
    tiles[1, 1, 99, 63] = -13.8047
    tiles[2, 0, 0, 0] = -13.809  # rounds to -13.8125
    assert is_audible(tiles, spec).tolist() == [[False] * 2, [False, True], [False] * 2]
