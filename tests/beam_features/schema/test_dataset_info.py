"""`dataset_info.json`: exact round trip, moments of unions, roles of partitions, refusals."""

import dataclasses
import hashlib
import json
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from beam_features.schema.dataset_info import (
    DatasetInfo,
    Moments,
    Partition,
    dump_dataset_info,
    parse_dataset_info,
)
from beam_features.schema.feature_spec import FeatureSpec
from dem.errors import InputError

SPEC = FeatureSpec(n_mels=5)


def tiles_of(seed: int, n_tiles: int) -> np.ndarray:
    """Log-mel-like float16 tiles."""
    rng = np.random.default_rng(seed)
    return rng.normal(-6, 3, (n_tiles, 100, SPEC.n_mels)).astype(np.float16)


def make_info(*names: str) -> DatasetInfo:
    partitions = {
        name: Partition(
            shards=f"{name}-*-of-00002.tfrecord",
            n_shards=2,
            strips=3,
            tiles=7,
            recordings=4,
            seconds=0.1 + 0.2,  # 0.30000000000000004: the text must keep it
            moments=Moments.of(tiles_of(seed, 7)),
        )
        for seed, name in enumerate(names)
    }
    return DatasetInfo(
        schema_version=1,
        feature_spec=SPEC,
        fingerprint=SPEC.fingerprint,
        label_names=("bell", "réed"),
        partitions=partitions,
        rejected={"truncated": 2},
        source={"dataset": "folder", "feature_spec": {"fmax_hz": None}, "shards": 2},
        versions={"numpy": np.__version__},
    )


def test_round_trip_is_exact():
    info = make_info("train", "test")
    text = dump_dataset_info(info)
    assert parse_dataset_info(text, "x") == info
    assert dump_dataset_info(parse_dataset_info(text, "x")) == text


def test_moments_equal_numpys():
    tiles = tiles_of(0, 9)
    moments = Moments.of(tiles)
    values = tiles.astype(np.float64).reshape(-1, SPEC.n_mels)
    assert moments.count == 900
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, values.var(axis=0), rtol=1e-10)


def test_moments_are_of_the_stored_float16_values():
    tile = np.full((1, 1, 1), 0.1, np.float32)
    assert Moments.of(tile).sum == (float(np.float16(0.1)),)


def test_moments_of_a_union_are_those_of_the_concatenation():
    parts = [tiles_of(seed, n_tiles) for seed, n_tiles in enumerate((1, 5, 12))]
    total = Moments.total(map(Moments.of, parts), SPEC.n_mels)
    whole = Moments.of(np.concatenate(parts))
    assert total.count == whole.count == 1800
    np.testing.assert_allclose(total.sum, whole.sum, rtol=1e-14)
    np.testing.assert_allclose(total.sum_of_squares, whole.sum_of_squares, rtol=1e-14)


def test_moments_of_named_partitions():
    info = make_info("train", "validation", "test")
    values = np.concatenate([tiles_of(0, 7), tiles_of(2, 7)]).astype(np.float64)
    moments = info.moments(["train", "test"])
    np.testing.assert_allclose(moments.mean, values.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(moments.variance, values.var(axis=(0, 1)), rtol=1e-10)


def test_moments_of_nothing_are_zero():
    empty = Moments.total([], 3)
    assert (empty.count, empty.sum, empty.sum_of_squares) == (0, (0.0,) * 3, (0.0,) * 3)
    assert empty.mean.tolist() == empty.variance.tolist() == [0.0] * 3


def test_variance_of_a_constant_is_not_negative():
    constant = np.full((1, 1000, 1), -13.8155, np.float16)
    assert Moments.of(constant).variance[0] == pytest.approx(0, abs=1e-9)
    assert Moments.of(constant).variance[0] >= 0


def test_shard_names_fill_the_pattern():
    partition = make_info("train").partitions["train"]
    expected = ["train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord"]
    assert partition.shard_names() == expected


def test_shard_names_after_an_update_are_listed():
    names = ("train+1-00000-of-00001.tfrecord", "train-00001-of-00002.tfrecord")
    info = make_info("train")
    part = dataclasses.replace(info.partitions["train"], names=names)
    assert part.shard_names() == list(names)
    info = dataclasses.replace(info, partitions={"train": part})
    assert parse_dataset_info(dump_dataset_info(info), "x") == info


def test_digest_of_the_content_is_that_of_version_0_2_and_changes_with_the_shards():
    """A training that was begun with version 0.2 is resumed."""
    info = make_info("train")
    part = info.partitions["train"]
    later = ("cancelled", "duplicates", "names")
    without = {name: part for name, part in dataclasses.asdict(part).items() if name not in later}
    text = TypeAdapter(dict[str, Any]).dump_json({"train": without})
    assert info.content_sha256 == hashlib.sha256(text).hexdigest()
    counted = dataclasses.replace(part, cancelled=1, duplicates=2)
    same = dataclasses.replace(info, partitions={"train": counted})
    assert same.content_sha256 == info.content_sha256
    updated = dataclasses.replace(part, names=("train+1-00000-of-00001.tfrecord",))
    changed = dataclasses.replace(info, partitions={"train": updated})
    assert changed.content_sha256 != info.content_sha256


@pytest.mark.parametrize(
    ("names", "train", "validation", "test"),
    [
        (["train", "validation", "test"], ["train"], ["validation"], ["test"]),
        (["test", "train"], ["train"], [], ["test"]),
        (
            ["fold1", "fold2", "fold3", "fold4", "fold5"],
            ["fold1", "fold2", "fold3"],
            ["fold4"],
            ["fold5"],
        ),
        (["fold10", "fold9", "fold2"], ["fold2"], ["fold9"], ["fold10"]),
        (["fold1", "fold2"], [], [], []),
        (["train", "fold1", "fold2", "fold3"], ["train"], [], []),
        (["fold1", "fold2", "fold3", "eval"], ["fold1"], ["fold2"], ["fold3"]),
        (["eval-known"], [], [], []),
    ],
)
def test_default_partitions(names, train, validation, test):
    roles = make_info(*names).default_partitions()
    assert roles == {"train": train, "validation": validation, "test": test}


def edited(**changes) -> str:
    """Dump an info and change keys of the JSON by hand."""
    return json.dumps(json.loads(dump_dataset_info(make_info("train"))) | changes)


def test_fingerprint_that_does_not_fit_the_spec_is_refused():
    spec = dataclasses.asdict(SPEC) | {"hop_s": 0.02}
    with pytest.raises(InputError) as refusal:
        parse_dataset_info(edited(feature_spec=spec), "gs://b/dataset_info.json")
    now = FeatureSpec(n_mels=5, hop_s=0.02).fingerprint[:12]
    assert str(refusal.value) == (
        f"gs://b/dataset_info.json: fingerprint {SPEC.fingerprint[:12]} does not match its "
        f"feature_spec, {now}; make the features again"
    )


def test_another_schema_version_is_refused():
    with pytest.raises(InputError) as refusal:
        parse_dataset_info(edited(schema_version=99), "x.json")
    message = "x.json has schema version 99, expected 1; make the features again"
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("not json", "the file: Invalid JSON: "),
        ("", "the file: Invalid JSON: EOF"),
        ("[]", "the file: "),
        (dump_dataset_info(make_info("train"))[:200], "the file: Invalid JSON: EOF"),
        (edited(partitions={"train": 1}), "partitions.train: "),
        (edited(feature_spec={"hop_s": 0.0123451}), "feature_spec: Value error, hop_s=0.0123451"),
        (edited(feature_spec={"hop": 1}), "feature_spec.hop: Unexpected keyword argument"),
    ],
)
def test_what_is_no_dataset_info_is_refused_in_one_line(text, where):
    with pytest.raises(InputError) as refusal:
        parse_dataset_info(text, "x.json")
    message = str(refusal.value)
    assert message.startswith(f"x.json is not a dataset_info.json: {where}")
    assert message.endswith("; make the features again with python -m beam_features")
    assert "\n" not in message
