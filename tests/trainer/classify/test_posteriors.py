from dataclasses import replace

import numpy as np
import pytest

from trainer.classify.posteriors import Posteriors, per_recording, per_tile


def tiles_of_two_sensors() -> Posteriors:
    """Recordings b and a, each with tiles of two sensors, shard by shard."""
    return Posteriors(
        probabilities=np.array([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]),
        truth=np.array([1, 0, 1, 1, 0]),
        recording_ids=np.array(["b", "a", "b", "b", "a"]),
        audible=np.ones(5, np.bool_),
    )


def test_a_recording_has_the_mean_of_the_tiles_of_all_its_sensors() -> None:
    """b: (0.9 + 0.2 + 0.4) / 3 = 0.5; a: (0.3 + 0.7) / 2 = 0.5."""
    recordings = per_recording(tiles_of_two_sensors())
    assert recordings.recording_ids.tolist() == ["a", "b"]
    assert recordings.truth.tolist() == [0, 1]
    np.testing.assert_allclose(recordings.probabilities, 0.5)


def test_silent_tiles_do_not_speak_for_a_recording_that_has_others() -> None:
    """b: (0.9 + 0.4) / 2 = 0.65; a has silent tiles only, so the mean of all, 0.5."""
    audible = np.array([True, False, False, True, False])
    recordings = per_recording(replace(tiles_of_two_sensors(), audible=audible))
    np.testing.assert_allclose(recordings.probabilities, [[0.5, 0.5], [0.65, 0.35]])
    assert recordings.audible.tolist() == [False, True]


def test_tiles_stay_as_they_are() -> None:
    tiles = tiles_of_two_sensors()
    assert per_tile(tiles) is tiles


def test_the_log_loss_counts_classes_equally() -> None:
    """Of two tiles with truth 0 the loss is -log 0.3 and -log 0.7, of three others likewise."""
    zeros, ones = [0.3, 0.7], [0.1, 0.8, 0.6]
    tiles = tiles_of_two_sensors()
    expected = -(np.log(zeros).mean() + np.log(ones).mean()) / 2
    assert tiles.log_loss == pytest.approx(expected)
    impossible = replace(tiles, probabilities=np.array([[1.0, 0.0]] * 5))
    assert impossible.log_loss == pytest.approx(-np.log(1e-15) / 2)
