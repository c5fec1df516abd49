"""What a recording causes is its rejection; what the storage causes is an error."""

from collections.abc import Iterator

import numpy as np
import pytest

from beam_features.schema.audio.files import RejectedRecording
from beam_features.tiles.contain import FailedMidwayError, contained
from dem.errors import JobError

TILES = np.zeros((1, 1, 100, 64), np.float32)


def failing(error: Exception, after: int) -> Iterator[np.ndarray]:
    for _ in range(after):
        yield TILES
    raise error


def test_tiles_pass():
    assert len(list(contained("a", [TILES, TILES]))) == 2


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (ValueError("bad\nheader"), "ValueError: bad\nheader"),
        (MemoryError(), "MemoryError"),
        (FloatingPointError("overflow"), "FloatingPointError: overflow"),
    ],
)
def test_unexpected_error_is_a_rejection(error, detail):
    with pytest.raises(RejectedRecording) as rejection:
        list(contained("a", failing(error, 0)))
    assert (rejection.value.stage, rejection.value.reason) == ("decode", "failed")
    assert rejection.value.detail == detail


def test_after_the_first_tile_it_names_the_recording():
    with pytest.raises(FailedMidwayError) as failure:
        list(contained("a", failing(ValueError("late"), 1)))
    assert failure.value.recording_id == "a"
    assert failure.value.rejection.detail == "ValueError: late"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tiles_that_are_not_finite_are_a_rejection(value):
    tiles = TILES.copy()
    tiles[0, 0, 99, 63] = value
    with pytest.raises(RejectedRecording, match="not_finite"):
        list(contained("a", [tiles]))
    with pytest.raises(FailedMidwayError, match="not_finite"):
        list(contained("a", [TILES, tiles]))


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), JobError("no space")])
@pytest.mark.parametrize("after", [0, 1])
def test_errors_of_the_storage_pass(error, after):
    with pytest.raises(type(error)):
        list(contained("a", failing(error, after)))
