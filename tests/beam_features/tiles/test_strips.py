"""Joining tiles into strips, and strips of several sensors."""

import numpy as np
import pytest

from beam_features.recording import Recording
from beam_features.schema.audio.files import RejectedRecording
from beam_features.schema.feature_spec import FeatureSpec
from beam_features.schema.strip import Strip
from beam_features.tiles.strips import strips_of, strips_of_contexts

SPEC = FeatureSpec()
LABEL_IDS = {"dog": 0, "rain": 1}


def recording(name: str, offset_s: float = 0.0, label: str | None = None) -> Recording:
    return Recording(name, f"/{name}", label, "train", "context", "session", "node3", offset_s)


def join(*parts: tuple[Recording, int | None], spec: FeatureSpec = SPEC):
    """Strips of recordings with so many tiles each; None: this one is rejected.

    Every value of the k-th tile that is read is k.
    """
    counts = {part.recording_id: n_tiles for part, n_tiles in parts}
    rejected, read = [], 0

    def read_tiles(part: Recording) -> list[np.ndarray]:
        nonlocal read
        n_tiles = counts[part.recording_id]
        if n_tiles is None:
            raise RejectedRecording("decode", "truncated", "half is missing")
        values = np.arange(read, read + n_tiles, dtype=np.float32)
        read += n_tiles
        tiles = np.tile(values[None, :, None, None], (1, 1, 100, 64))
        return np.array_split(tiles, 3, axis=1)

    strips = list(
        strips_of(
            (part for part, _ in parts),
            read_tiles,
            lambda part, why: rejected.append((part.recording_id, why.reason)),
            LABEL_IDS,
            spec,
        )
    )
    return strips, rejected


def spans(strips) -> list[tuple[int, int]]:
    """First tile and number of tiles of each strip."""
    return [(strip.first_tile, len(strip.log_mel)) for strip in strips]


def test_columns_of_a_strip():
    (strip,), _ = join((recording("a", 0, "rain"), 3))
    assert (strip.context_id, strip.session_id, strip.sensor_id) == ("context", "session", "node3")
    assert strip.recording_ids == ("a", "a", "a")
    assert strip.start_ms == (0, 1000, 2000)
    assert strip.labels == (1, 1, 1)
    assert strip.log_mel.dtype == np.dtype("<f2")
    assert strip.log_mel[:, 0, 0].tolist() == [0, 1, 2]


def test_start_ms_of_tiles_that_are_no_whole_seconds():
    (strip,), _ = join((recording("a"), 4), spec=FeatureSpec(tile_s=0.96))
    assert strip.start_ms == (0, 960, 1920, 2880)


@pytest.mark.parametrize(
    ("n_tiles", "expected"),
    [
        (64, [(0, 64)]),
        (65, [(0, 64), (64, 1)]),
        (150, [(0, 64), (64, 64), (128, 22)]),
    ],
)
def test_strips_split_at_64_tiles(n_tiles, expected):
    strips, _ = join((recording("a"), n_tiles))
    assert spans(strips) == expected
    assert np.concatenate([s.log_mel[:, 0, 0] for s in strips]).tolist() == list(range(n_tiles))
    assert [ms for s in strips for ms in s.start_ms] == list(range(0, 1000 * n_tiles, 1000))


def test_consecutive_recordings_of_a_context_are_joined():
    (strip,), _ = join((recording("a", 0, "dog"), 10), (recording("b", 10), 10))
    assert spans([strip]) == [(0, 20)]
    assert strip.recording_ids == ("a",) * 10 + ("b",) * 10
    assert strip.start_ms == (*range(0, 10_000, 1000), *range(0, 10_000, 1000))
    assert strip.labels == (0,) * 10 + (-1,) * 10


def test_joined_recordings_split_at_64_tiles():
    strips, _ = join(*((recording(str(k), 10 * k), 10) for k in range(7)))
    assert spans(strips) == [(0, 64), (64, 6)]


def test_gap_in_the_timeline_ends_a_strip():
    strips, _ = join((recording("a", 0), 10), (recording("b", 30), 10), (recording("c", 40), 2))
    assert spans(strips) == [(0, 10), (30, 12)]


def test_missing_last_tile_is_a_gap():
    strips, _ = join((recording("a", 0), 9), (recording("b", 10), 10))
    assert spans(strips) == [(0, 9), (10, 10)]


def test_overlap_starts_a_strip_of_its_own():
    strips, _ = join((recording("a", 0), 10), (recording("b", 8), 10))
    assert spans(strips) == [(0, 10), (8, 10)]


def test_rejected_recording_makes_a_gap_and_is_reported():
    strips, rejected = join(
        (recording("a", 0), 10), (recording("b", 10), None), (recording("c", 20), 10)
    )
    assert spans(strips) == [(0, 10), (20, 10)]
    assert {name for strip in strips for name in strip.recording_ids} == {"a", "c"}
    assert rejected == [("b", "truncated")]


def test_context_of_rejected_recordings_has_no_strips():
    assert join((recording("a"), None)) == ([], [("a", "truncated")])


def test_context_that_begins_late_keeps_its_place():
    strips, _ = join((recording("a", 120), 3))
    assert spans(strips) == [(120, 3)]


def test_channels_are_sensors_with_timelines_of_their_own():
    """Two recordings that follow each other: the channels' strips go on side by side."""

    def read_tiles(part: Recording) -> list[np.ndarray]:
        first = 0 if part.recording_id == "a" else 40
        values = np.arange(first, first + 40) + np.array([[0], [100]])  # [channel, tile]
        return [np.tile(values[:, :, None, None], (1, 1, 100, 64))]

    parts = [recording("a", 0), recording("b", 40)]
    spec = FeatureSpec(channels="all")
    strips = list(strips_of(parts, read_tiles, lambda *_: None, LABEL_IDS, spec))
    assert [(s.context_id, s.sensor_id, s.first_tile) for s in strips] == [
        ("context#channel0", "node3#channel0", 0),
        ("context#channel1", "node3#channel1", 0),
        ("context#channel0", "node3#channel0", 64),
        ("context#channel1", "node3#channel1", 64),
    ]
    assert {strip.session_id for strip in strips} == {"session"}
    values = [strip.log_mel[:, 0, 0].tolist() for strip in strips]
    assert values == [
        list(range(64)),
        list(range(100, 164)),
        list(range(64, 80)),
        list(range(164, 180)),
    ]
    assert strips[2].recording_ids == ("b",) * 16
    assert strips[2].start_ms == tuple(range(24_000, 40_000, 1000))


def test_strips_end_at_the_same_points_of_every_timeline():
    """From tile 60 on: up to 64, up to 128, and the rest."""
    strips, _ = join((recording("a", 60.0), 75))
    assert spans(strips) == [(60, 4), (64, 64), (128, 7)]


def test_strips_of_several_sensors_are_merged_by_time_one_context_at_a_time():
    """Node a has two contexts in the session, b one; c is another session."""
    opened = []

    def strips_of_one(context):
        name, first_tiles = context[0].context_id, {"a1": [0, 64], "a2": [128], "b": [0, 64, 128]}
        for first in first_tiles.get(name, [0, 64]):
            opened.append((name, first))
            yield Strip(name, "", "", first, np.empty((0, 100, 64), np.float16), (), (), ())

    contexts = [
        (Recording(name, name, None, "train", name, session, sensor),)
        for name, session, sensor in [
            ("a1", "ex1", "a"),
            ("b", "ex1", "b"),
            ("a2", "ex1", "a"),
            ("c", "ex2", "a"),
            ("d", "ex2", "a"),
        ]
    ]
    merged = [(s.context_id, s.first_tile) for s in strips_of_contexts(contexts, strips_of_one)]
    assert merged == [
        ("a1", 0),
        ("b", 0),
        ("a1", 64),
        ("b", 64),
        ("a2", 128),
        ("b", 128),
        *[("c", 0), ("c", 64), ("d", 0), ("d", 64)],
    ]
    assert opened.index(("a2", 128)) > opened.index(("b", 0))  # not before it is its turn
