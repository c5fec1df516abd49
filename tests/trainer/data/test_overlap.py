import numpy as np

from beam_features.schema.strip import NO_LABEL, Strip
from trainer.data.columns import Columns
from trainer.data.overlap import shifted, shifts

FRAMES, MELS = 4, 3


def strip(name: str, recordings: list[str], labels: list[int]) -> Strip:
    """Tiles whose values are the numbers of their frames."""
    n_tiles = len(recordings)
    frames = np.arange(n_tiles * FRAMES, dtype=np.float16)[:, None] + np.zeros(MELS, np.float16)
    starts = [1000 * recordings[:tile].count(one) for tile, one in enumerate(recordings)]
    return Strip(
        context_id=name,
        session_id=name,
        sensor_id="",
        first_tile=0,
        log_mel=frames.reshape(n_tiles, FRAMES, MELS),
        recording_ids=tuple(recordings),
        start_ms=tuple(starts),
        labels=tuple(labels),
    )


STRIPS = [
    strip("a", ["r0", "r0", "r0", "r1", "r1"], [0, 0, 0, 0, 0]),
    strip("b", ["r2"], [1]),
    strip("c", ["r3", "r3", "r3"], [1, NO_LABEL, NO_LABEL]),
]


def test_grids_are_apart_by_equal_parts_of_a_tile() -> None:
    assert shifts(100, 4) == [0, 25, 50, 75]
    assert shifts(100, 3) == [0, 33, 66]
    assert shifts(100, 1) == [0]
    assert shifts(2, 4) == [0, 1]  # there are no more


def test_shifted_tiles_lie_in_two_of_one_recording_and_label() -> None:
    columns = shifted(Columns.of(STRIPS, (FRAMES, MELS)), 1, hop_ms=250.0)
    assert columns.recordings.as_list() == ["r0", "r0", "r1", "r3"]
    assert columns.start_ms.tolist() == [250, 1250, 250, 1250]
    assert columns.labels.tolist() == [0, 0, 0, NO_LABEL]
    assert columns.n_tiles.tolist() == [3, 0, 1]
    contexts = columns.contexts.take(columns.strip_of_tile).as_list()
    assert contexts == ["a", "a", "a", "c"]
    first = np.array([1, 5, 13, 5])
    expected = first[:, None] + np.arange(FRAMES)
    np.testing.assert_array_equal(columns.log_mel[:, :, 0], expected)
    np.testing.assert_array_equal(columns.log_mel[:, :, 0], columns.log_mel[:, :, 2])
    np.testing.assert_array_equal(columns.loudest, expected)


def test_no_shift_and_no_tiles_change_nothing() -> None:
    columns = Columns.of(STRIPS, (FRAMES, MELS))
    assert shifted(columns, 0, hop_ms=250.0) is columns
    assert len(shifted(Columns.of([], (FRAMES, MELS)), 2, hop_ms=250.0).labels) == 0
