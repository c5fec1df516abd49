"""Shards read as columns give exactly what reading record by record gives."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from beam_features.job.tfrecord import frame_record
from beam_features.schema.strip import NO_LABEL, Strip, encode_strip
from dem.errors import JobError
from tests.trainer.synthetic import node_strip
from trainer.data.columns import Coded, Columns, blocks_of, read_columns
from trainer.data.shards import CorruptRecords, read_strips

TILE_SHAPE = (2, 3)
ANY = 10**6  # corrupt records
RNG = np.random.default_rng(0)


def strip_of(name: str, n_tiles: int, **other: object) -> Strip:
    values: dict[str, object] = {
        "context_id": f"context {name}",
        "session_id": f"session {name}",
        "sensor_id": "",
        "first_tile": 0,
        "log_mel": RNG.normal(-4, 2, (n_tiles, *TILE_SHAPE)).astype(np.float16),
        "recording_ids": (name,) * n_tiles,
        "start_ms": tuple(range(0, 20 * n_tiles, 20)),
        "labels": (NO_LABEL,) * n_tiles,
    }
    return Strip(**{**values, **other})  # type: ignore[arg-type]


STRIPS = [
    strip_of("a", 3, labels=(0, 1, NO_LABEL), recording_ids=("a", "a", "caf\u00e9")),
    strip_of("b", 1, sensor_id="node1", start_ms=(2**40,)),
    strip_of("a", 2, first_tile=3, labels=(2**40, 2)),
    strip_of("c", 4, context_id="", session_id="session a", sensor_id="node2", first_tile=64),
    strip_of("none", 0),
    strip_of("extreme", 1, log_mel=np.full((1, *TILE_SHAPE), 65504, np.float16)),
]


def shard_of(strips: Iterable[Strip]) -> bytes:
    return b"".join(frame_record(encode_strip(strip)) for strip in strips)


GOOD = shard_of(STRIPS)
SHORT = shard_of(STRIPS[1:3])
RECORD = len(frame_record(encode_strip(STRIPS[1])))


def with_example(change: Callable[[tf.train.Example], None]) -> bytes:
    """A shard of three records, of which the second was changed before it was framed."""
    example = tf.train.Example.FromString(encode_strip(STRIPS[0]))
    change(example)
    before, after = (frame_record(encode_strip(STRIPS[k])) for k in (1, 2))
    return before + frame_record(example.SerializeToString(deterministic=True)) + after


def with_feature(name: str, values: Sequence[bytes] | Sequence[int]) -> bytes:
    """The same, where one feature has other values."""
    texts = any(isinstance(value, bytes) for value in values)
    kind = "bytes_list" if texts else "int64_list"
    feature = tf.train.Feature(**{kind: {"value": values}})
    return with_example(lambda example: example.features.feature[name].CopyFrom(feature))


def without(name: str) -> bytes:
    return with_example(lambda example: example.features.feature.pop(name))


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


LOG_MEL = STRIPS[0].log_mel.tobytes()
SHARDS = {
    "good": GOOD,
    "short": SHORT,
    "empty": b"",
    "no Example": frame_record(b"\xff" * 20) + SHORT,
    "an Example without features": SHORT + frame_record(b"") + SHORT,
    "a flipped bit in a length": SHORT[:RECORD] + flipped(SHORT[RECORD:], 0) + GOOD,
    "a flipped bit in the checksum of a length": SHORT + flipped(GOOD, 9),
    "a flipped bit in data": SHORT + flipped(GOOD, 40) + SHORT,
    "flipped bits in two records": flipped(SHORT, 40) + flipped(GOOD, 40) + SHORT,
    "a flipped bit in the last checksum": flipped(GOOD, len(GOOD) - 1),
    "zeros at the end": GOOD + bytes(100),
    "zeros alone": bytes(512),
    "text": b"not a shard at all, but long enough to hold a length" * 3,
    "another schema": with_feature("schema_version", [2]),
    "two schemas": with_feature("schema_version", [1, 2]),
    "a schema in words": with_feature("schema_version", [b"1"]),
    "no schema": without("schema_version"),
    "no log-mel": without("log_mel"),
    "no session": without("session_id"),
    "two sessions": with_feature("session_id", [b"one", b"two"]),
    "no labels": without("label"),
    "fewer labels": with_feature("label", [1, 2]),
    "more labels": with_feature("label", [1, 2, 3, 4]),
    "fewer starts": with_feature("start_ms", [0]),
    "fewer recordings": with_feature("recording_id", [b"a", b"b"]),
    "no recordings": without("recording_id"),
    "another tile size": with_feature("log_mel", [LOG_MEL[:-2]]),
    "half a value": with_feature("log_mel", [LOG_MEL[:-1]]),
    "a tile more": with_feature("log_mel", [LOG_MEL * 2]),
    "a context in Latin-1": with_feature("context_id", [b"caf\xe9"]),
    "a recording in Latin-1": with_feature("recording_id", [b"a", b"caf\xe9", b"a"]),
    "a sensor in Latin-1": with_feature("sensor_id", [b"\xff"]),
    "a feature more": with_feature("tempo", [120]),
    "features twice": frame_record(encode_strip(STRIPS[0]) + encode_strip(STRIPS[2])),
}
READABLE = {
    "good",
    "short",
    "empty",
    "two schemas",
    "two sessions",
    "a feature more",
    "features twice",
}


def compare(
    uris: Sequence[str], tile_shape: tuple[int, int], parallel: int
) -> list[tuple[str, int, str]]:
    """Read shards in both ways, require the same, and return what is corrupt."""
    found, expected = CorruptRecords(ANY), CorruptRecords(ANY)
    columns = list(read_columns(uris, tile_shape, found, parallel=parallel))
    assert len(columns) == len(uris)
    for uri, shard in zip(uris, columns, strict=True):
        strips = list(read_strips(uri, tile_shape, expected))
        plain = Columns.of(strips, tile_shape)
        for field in fields(Columns):
            here, there = (getattr(one, field.name) for one in (shard, plain))
            if isinstance(here, Coded):
                assert here.names == there.names, (uri, field.name)
                here, there = here.codes, there.codes
            np.testing.assert_array_equal(here, there, err_msg=f"{uri} {field.name}")
            assert here.dtype == there.dtype, field.name
        assert found.places([uri]) == expected.places([uri])
    assert found.places(uris) == expected.places(uris)
    return [(uris[number], *place) for number, *place in found.places(uris)]


@pytest.fixture(scope="module")
def uris(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A good shard before and after each that is not."""
    directory = tmp_path_factory.mktemp("shards")
    uris = {}
    for name, data in SHARDS.items():
        for label, content in ((name, data), (f"after {name}", GOOD)):
            (directory / label).write_bytes(content)
            uris[label] = str(directory / label)
    return uris


@pytest.mark.parametrize("parallel", [1, 3])
def test_shards_are_read_as_record_by_record(uris: dict[str, str], parallel: int) -> None:
    corrupt = compare(list(uris.values()), TILE_SHAPE, parallel)
    assert {Path(uri).name for uri, _, _ in corrupt} == set(SHARDS) - READABLE


def test_columns_are_those_of_the_strips(uris: dict[str, str]) -> None:
    (shard,) = read_columns([uris["good"]], TILE_SHAPE, CorruptRecords(0))
    log_mel = np.concatenate([strip.log_mel for strip in STRIPS])
    np.testing.assert_array_equal(shard.log_mel, log_mel)
    np.testing.assert_array_equal(shard.loudest, log_mel.max(axis=2))
    assert shard.n_tiles.tolist() == [3, 1, 2, 4, 0, 1]
    assert shard.strip_of_tile.tolist() == [0, 0, 0, 1, 2, 2, 3, 3, 3, 3, 5]
    assert shard.first_tile.tolist() == [0, 0, 3, 64, 0, 0]
    assert shard.contexts.as_list() == [strip.context_id for strip in STRIPS]
    assert shard.sessions.as_list() == [strip.session_id for strip in STRIPS]
    assert shard.sensors.as_list() == ["", "node1", "", "node2", "", ""]
    assert shard.recordings.as_list() == [n for strip in STRIPS for n in strip.recording_ids]
    assert shard.start_ms.tolist() == [ms for strip in STRIPS for ms in strip.start_ms]
    assert shard.labels.tolist() == [label for strip in STRIPS for label in strip.labels]


def test_wherever_a_shard_is_truncated(tmp_path: Path) -> None:
    """In a length, its checksum, the data, their checksum, and between records."""
    paths = [tmp_path / f"{size:04d}" for size in range(len(SHORT))]
    for size, path in enumerate(paths):
        path.write_bytes(SHORT[:size])
    corrupt = compare([str(path) for path in paths], TILE_SHAPE, parallel=3)
    whole = {0, RECORD}
    assert [Path(uri).name for uri, _, _ in corrupt] == [
        path.name for size, path in enumerate(paths) if size not in whole
    ]


def test_whichever_byte_is_flipped(tmp_path: Path) -> None:
    paths = [tmp_path / f"{place:04d}" for place in range(RECORD)]
    for place, path in enumerate(paths):
        path.write_bytes(flipped(SHORT, place))
    corrupt = compare([str(path) for path in paths], TILE_SHAPE, parallel=3)
    assert {Path(uri).name for uri, _, _ in corrupt} == {path.name for path in paths}


@pytest.mark.parametrize("parallel", [1, 3])
def test_one_corrupt_record_too_many_is_an_error_that_names_it(
    uris: dict[str, str], parallel: int
) -> None:
    names = [uris["good"], uris["a flipped bit in data"], uris["short"]]
    shards = read_columns(names, TILE_SHAPE, CorruptRecords(0), parallel=parallel)
    assert len(next(shards).labels) == 11
    with pytest.raises(JobError, match=rf"corrupt record in {names[1]} at byte {len(SHORT)}: "):
        next(shards)


@pytest.mark.parametrize("parallel", [1, 3])
def test_a_missing_shard_is_the_error_that_reading_it_gives(
    uris: dict[str, str], tmp_path: Path, parallel: int
) -> None:
    missing = str(tmp_path / "missing")
    with pytest.raises(tf.errors.NotFoundError) as expected:
        list(read_strips(missing, TILE_SHAPE, CorruptRecords(0)))
    names = [uris["good"], missing, uris["short"]]
    shards = read_columns(names, TILE_SHAPE, CorruptRecords(0), parallel=parallel)
    assert len(next(shards).labels) == 11
    with pytest.raises(tf.errors.NotFoundError) as error:
        next(shards)
    assert str(error.value) == str(expected.value)


def test_a_shard_that_grows_is_read_as_it_is_then(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(12)]
    for path in paths:
        path.write_bytes(SHORT)
    shards = read_columns([str(path) for path in paths], TILE_SHAPE, CorruptRecords(0))
    sizes = [len(next(shards).labels)]
    paths[-1].write_bytes(SHORT + GOOD)
    sizes += [len(shard.labels) for shard in shards]
    assert sizes == [3] * 11 + [14]


def test_no_shards_give_nothing() -> None:
    assert list(read_columns([], TILE_SHAPE, CorruptRecords(0))) == []


def test_names_have_one_number_each() -> None:
    first, second = Coded.of(["b", "a", "b"]), Coded.of(["c", "a"])
    assert (first.names, first.codes.tolist()) == (("b", "a"), [0, 1, 0])
    joined = Coded.join([first, second, Coded.of([])])
    assert (joined.names, joined.codes.tolist()) == (("b", "a", "c"), [0, 1, 0, 2, 1])
    assert joined.take(np.array([4, 0])).as_list() == ["a", "b"]
    assert len(joined) == 5
    assert Coded.join([]).as_list() == []


@pytest.mark.parametrize(
    ("n_tiles", "size", "blocks"),
    [
        ([6, 6, 6], 10, [(0, 12), (12, 18)]),
        ([6, 6], 6, [(0, 6), (6, 12)]),
        ([6, 6], 100, [(0, 12)]),
        ([20, 1], 10, [(0, 20), (20, 21)]),
        ([3, 0, 0], 2, [(0, 3)]),
        ([0], 2, []),
        ([], 10, []),
    ],
)
def test_blocks_hold_whole_strips(
    n_tiles: list[int], size: int, blocks: list[tuple[int, int]]
) -> None:
    found = blocks_of(np.array(n_tiles, np.int64), size)
    assert [(block.start, block.stop) for block in found] == blocks


def test_shards_of_the_size_of_real_ones(tmp_path: Path) -> None:
    """Tiles of 16 x 16, as the other tests have them."""
    strips = [node_strip(f"ex{k}", f"node{k % 3}", 64 * k, 1 + k % 5) for k in range(40)]
    (tmp_path / "shard").write_bytes(shard_of(strips))
    assert compare([str(tmp_path / "shard")], (16, 16), parallel=1) == []
