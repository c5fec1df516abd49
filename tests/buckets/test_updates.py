"""A bucket of recordings that changes: the features are updated, also after a kill."""

import io
import re
import time
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from beam_features.job.tfrecord import read_records
from beam_features.schema.dataset_info import DatasetInfo, parse_dataset_info
from beam_features.schema.strip import decode_strip
from tests.buckets.commands import SMALL_FEATURES, run_in, start_in
from tests.buckets.storage_service import StorageService

pytestmark = pytest.mark.slow

Tiles = set[tuple[str, int, bytes]]


def write_song(gcs: StorageService, bucket: str, name: str, seed: int) -> None:
    file = io.BytesIO()
    samples = np.random.default_rng(seed).normal(0, 0.05, 16_000)
    soundfile.write(file, samples, 8_000, format="WAV")
    gcs.write(bucket, f"audio/{name}", file.getvalue())


def command(bucket: str, output: str) -> tuple[object, ...]:
    place = ("--input", f"gs://{bucket}/audio", "--output", f"gs://{bucket}/{output}")
    return ("beam_features", "--dataset", "folder", *place, "--set", *SMALL_FEATURES)


def info_of(gcs: StorageService, bucket: str, output: str) -> DatasetInfo:
    return parse_dataset_info(gcs.read(bucket, f"{output}/dataset_info.json").decode(), "x")


def tiles_in(gcs: StorageService, bucket: str, output: str) -> Tiles:
    info = info_of(gcs, bucket, output)
    return {
        (strip.recording_ids[0], strip.first_tile, strip.log_mel.tobytes())
        for part in info.partitions.values()
        for name in part.shard_names()
        for record in read_records(io.BytesIO(gcs.read(bucket, f"{output}/{name}")))
        for strip in [decode_strip(record, info.feature_spec.tile_shape)]
    }


def killed_once(gcs: StorageService, bucket: str, reached: Callable[[list[str]], object]) -> None:
    process = start_in(gcs, *command(bucket, "features"))
    while process.poll() is None and not reached(gcs.names(bucket, "features/")):
        time.sleep(0.02)
    process.kill()
    process.communicate()


def begun(names: list[str]) -> bool:
    return "features/incomplete/arguments.json" in names


def one_shard(names: list[str]) -> bool:
    return any(re.search(r"incomplete/[a-z]+\+1-.*json$", name) for name in names)


def test_an_update_by_generation_survives_kills(gcs: StorageService, bucket: str) -> None:
    for index in range(20):
        write_song(gcs, bucket, f"{index}.wav", index)
    first = run_in(gcs, *command(bucket, "features"))
    assert first.returncode == 0, first.stderr
    old = tiles_in(gcs, bucket, "features")
    again = run_in(gcs, *command(bucket, "features"))
    assert "20 kept\n" in again.stderr
    assert "already complete, nothing to do" in again.stderr

    write_song(gcs, bucket, "3.wav", 103)  # of the same size
    write_song(gcs, bucket, "new.wav", 104)
    fresh = run_in(gcs, *command(bucket, "fresh"))
    assert fresh.returncode == 0, fresh.stderr
    new = tiles_in(gcs, bucket, "fresh")
    assert len(old - new) == 1
    for reached in (begun, one_shard):
        killed_once(gcs, bucket, reached)
        assert tiles_in(gcs, bucket, "features") in (old, new)
    last = run_in(gcs, *command(bucket, "features"))
    assert last.returncode == 0, last.stderr
    assert tiles_in(gcs, bucket, "features") == new
    info = info_of(gcs, bucket, "features")
    shards = {name for part in info.partitions.values() for name in part.shard_names()}
    there = {name.removeprefix("features/") for name in gcs.names(bucket, "features/")}
    files = {"dataset_info.json", "rejected-00000-of-00001.jsonl"}
    assert there == shards | files | {"shards.jsonl", "sources.parquet"}
