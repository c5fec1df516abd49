"""The index against a plain loop over frames."""

from dataclasses import fields

import numpy as np
import pytest

from beam_features.schema.strip import Strip
from tests.trainer.corpora import (
    N_MELS,
    SILENCE,
    TILE_FRAMES,
    index_strips,
    loud_frames,
    make_strip,
    random_strips,
)
from tests.trainer.plain_pairs import PlainCorpus
from trainer.data.columns import Coded, Columns
from trainer.store.index import Index, dump_index, index_columns, load_index
from trainer.store.ranges import Ranges


def segments_of(index: Index) -> list[tuple[str, str, str, int, int, int]]:
    """Context, session, sensor, time, first frame and end of each segment."""
    named = (index.contexts, index.sessions, index.sensors)
    columns = [*(coded.as_list() for coded in named), index.time, index.first[:-1], index.first[1:]]
    return list(zip(*(list(column) for column in columns), strict=True))


def as_lists(index: Index) -> dict[str, object]:
    """The contents, whatever the numbers of names are."""
    values = {field.name: getattr(index, field.name) for field in fields(index)}
    return {
        name: value.as_list()
        if isinstance(value, Coded)
        else value.numbers().tolist()
        if isinstance(value, Ranges)
        else np.asarray(value).tolist()
        for name, value in values.items()
    }


@pytest.mark.parametrize("seed", range(12))
def test_index_equals_a_plain_loop_over_frames(seed: int) -> None:
    strips = random_strips(np.random.default_rng(seed))
    columns = Columns.of(strips, (TILE_FRAMES, N_MELS))
    index, order = index_columns(columns, loud_frames(columns))
    plain = PlainCorpus(strips, SILENCE)
    tiles = columns.log_mel if order is None else columns.log_mel[order]
    assert tiles.reshape(-1, N_MELS).tolist() == [list(frame.values) for frame in plain.frames]
    starts = [place for place in range(len(plain.frames)) if place % TILE_FRAMES == 0]
    assert index.recordings.as_list() == [plain.frames[place].recording for place in starts]
    assert index.start_ms.tolist() == [plain.frames[place].start_ms for place in starts]
    assert index.labels.tolist() == [plain.frames[place].label for place in starts]
    assert index.audible.numbers().tolist() == plain.audible
    assert index.cuts.numbers().tolist() == plain.cuts
    expected = []
    for segment in dict.fromkeys(plain.segment_of):
        places = [place for place, own in enumerate(plain.segment_of) if own == segment]
        head = plain.frames[places[0]]
        names = head.context, head.session, head.sensor
        expected.append((*names, head.time, places[0], places[-1] + 1))
    assert segments_of(index) == expected
    heard = {plain.frames[tile * TILE_FRAMES].session for tile in plain.audible}
    assert index.audible_sessions() == len(heard)


def test_random_corpora_hold_what_they_are_for() -> None:
    """Several strips a segment, gaps, strips out of order, changes of recordings, silence."""
    met = {"out of order": 0, "joined": 0, "gap": 0, "recordings": 0, "silent": 0}
    for seed in range(12):
        strips = random_strips(np.random.default_rng(seed))
        columns = Columns.of(strips, (TILE_FRAMES, N_MELS))
        index, order = index_columns(columns, loud_frames(columns))
        met["out of order"] += order is not None
        met["joined"] += len(index.time) < len(strips)
        met["gap"] += len(index.time) > len(set(index.contexts.as_list()))
        met["recordings"] += any(len(set(strip.recording_ids)) > 1 for strip in strips)
        met["silent"] += len(index.audible) < len(index.labels)
    assert all(count >= 6 for count in met.values()), met


def test_strips_of_a_context_join_and_break_at_gaps() -> None:
    strips = [
        make_strip("a", 3, ["x", "x"]),
        make_strip("b", 5, ["y"]),  # follows in number, but it is another context
        make_strip("a", 5, ["x"]),
        make_strip("a", 7, ["x"]),
    ]
    index = index_strips(strips)
    assert segments_of(index) == [
        ("a", "a", "", 12, 0, 12),
        ("a", "a", "", 28, 12, 16),
        ("b", "b", "", 20, 16, 20),
    ]
    assert index.cuts.numbers().tolist() == [*range(9), 12, 16]


def test_cuts_cross_strips_of_one_recording_but_no_change_of_recordings() -> None:
    index = index_strips([make_strip("a", 0, ["x", "x", "y"]), make_strip("a", 3, ["y", "x"])])
    assert index.cuts.numbers().tolist() == [*range(5), *range(8, 13), 16]


def test_what_is_entirely_silent_is_no_cut_and_not_audible() -> None:
    quiet = np.arange(16) < 11  # one loud frame in the third tile
    index = index_strips([make_strip("a", 0, ["x"] * 4, quiet=quiet)])
    assert index.audible.numbers().tolist() == [2, 3]
    assert index.cuts.numbers().tolist() == [8, 9, 10, 11, 12]


def test_frames_at_the_level_of_silence_are_silent() -> None:
    strip = make_strip("a", 0, ["x", "x"])
    strip.log_mel[0], strip.log_mel[1] = SILENCE, np.nextafter(np.float16(SILENCE), np.float16(0))
    assert index_strips([strip]).audible.numbers().tolist() == [1]


@pytest.mark.parametrize("n_shards", [1, 2, 3])
def test_joined_indices_equal_one_of_everything(n_shards: int) -> None:
    """Where contexts do not spread over shards; names have one number in all of them."""
    shards = [random_strips(np.random.default_rng(seed)) for seed in range(n_shards)]
    renamed = [[_renamed(strip, str(k)) for strip in shard] for k, shard in enumerate(shards)]
    parts = [index_strips(shard) for shard in renamed]
    joined = Index.join(parts, TILE_FRAMES)
    whole = index_strips([strip for shard in renamed for strip in shard])
    assert as_lists(joined) == as_lists(whole)
    for name in ("contexts", "sessions", "sensors", "recordings"):
        coded = getattr(joined, name)
        assert len(set(coded.names)) == len(coded.names)


def _renamed(strip: Strip, shard: str) -> Strip:
    values = {field.name: getattr(strip, field.name) for field in fields(strip)}
    for name in ("context_id", "session_id"):
        values[name] = f"{shard} {values[name]}"
    return Strip(**values)


def test_no_shards_and_empty_shards_give_an_empty_index() -> None:
    columns = Columns.of([], (TILE_FRAMES, N_MELS))
    nothing = index_columns(columns, loud_frames(columns))
    assert nothing[1] is None
    for index in (nothing[0], Index.join([], TILE_FRAMES), Index.join([nothing[0]] * 2, 4)):
        assert index.first.tolist() == [0]
        assert len(index.audible) == len(index.cuts) == index.audible_sessions() == 0
    full = index_strips([make_strip("a", 0, ["x"])])
    joined = Index.join([nothing[0], full, nothing[0]], TILE_FRAMES)
    assert as_lists(joined) == as_lists(full)


def test_a_dumped_index_is_loaded_as_it_was() -> None:
    strips = random_strips(np.random.default_rng(3))
    index = index_strips([*strips, make_strip("caf\u00e9 \u2603", 0, ["\u00e9"])])
    loaded = load_index(dump_index(index))
    assert as_lists(loaded) == as_lists(index)
    assert loaded.contexts.names == index.contexts.names
    assert loaded.tile_frames == TILE_FRAMES
