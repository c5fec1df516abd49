"""The median stopping rule, by hand."""

import pytest

from tuning.search.stopping import cannot_win

FINISHED = [{1: 0.125, 2: 0.375, 3: 0.75}, {1: 0.25, 2: 0.5, 3: 0.75}, {1: 0.5, 2: 0.5, 3: 0.8}]
"""Their means up to epoch 2: 0.25, 0.375, 0.5; up to epoch 3: 0.4167, 0.5, 0.6."""


@pytest.mark.parametrize(
    ("curve", "stops"),
    [
        ({1: 0.1, 2: 0.374}, True),
        ({1: 0.1, 2: 0.375}, False),  # not below
        ({1: 0.376, 2: 0.0}, False),  # its best counts
        ({1: 0.0}, False),  # too early
        ({1: 0.0, 2: 0.0, 3: 0.49}, True),
        ({1: 0.0, 2: 0.0, 3: 0.51}, False),
        ({}, False),
    ],
)
def test_below_the_median_is_stopped(curve: dict[int, float], stops: bool) -> None:
    assert cannot_win(curve, FINISHED) is stops


def test_few_finished_trials_stop_nothing() -> None:
    assert not cannot_win({1: 0.0, 2: 0.0}, FINISHED[:2])


def test_a_trial_without_epochs_that_early_does_not_count() -> None:
    assert not cannot_win({1: 0.0, 2: 0.0}, [*FINISHED[:2], {7: 1.0}])
